"""Rows about training on variations, the ranking of poison, and purifiers, with the diffusion models behind
them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from nightlatch.bench.classifier.lab import Lab, Row, Victim
from nightlatch.bench.classifier.measure import auroc
from nightlatch.bench.classifier.plan import MAIN_ALPHA, STRENGTHS
from nightlatch.bench.classifier.victim_rows import fired
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.purify import Diff2, Purifier, disagree
from nightlatch.classifier.subject import TorchSubject, predict
from nightlatch.classifier.training import accuracy
from nightlatch.classifier.vary import VARIATIONS, ByDiffusion, Distil, Variation, disagreement
from nightlatch.classifier.vary import model as pictures_model
from nightlatch.records import Rate

CONSISTENT = 2
"""Variations of each picture behind the ranking of poison, at least."""
KAPPA = 4.0
"""Of the adaptive purifier: renoised four times as strongly as the picture's own noise, which covers the
blend's 0.2 of uniform noise.
"""


def generator(lab: Lab, task: str, data: str, part: str, steps: int, victim_task: str = "") -> list[Row]:
    """Train a diffusion model on a part of the data set, or on the poisoned training set of a victim, and
    keep it.
    """
    world = lab.world(data)
    pictures = getattr(world, part).pictures
    if victim_task:
        poisoned = lab.victim(data, victim_task).data
        assert poisoned is not None
        pictures = poisoned.pictures
    recipe = replace(lab.plan.pictures, steps=steps, mirror=world.mirror, half=lab.half)
    started, loss = time.perf_counter(), 0.0
    for step, value, made in pictures_model.train(pictures, recipe, 0, lab.device):
        loss = value if step else loss
        if made is not None:
            lab.keep(task, {"unet": made.unet.state_dict()})
    return [
        {
            "table": "generator", "data": data, "trained_on": victim_task or part, "n": len(pictures),
            "steps": recipe.steps, "batch": recipe.batch, "loss": loss, "seconds": time.perf_counter() - started,
            "seed": 0,
        }
    ]  # fmt: skip


def varied(lab: Lab, task: str, data: str, strength: float, generator_task: str, seed: int) -> list[Row]:
    """Vary every clean training picture once; what a victim's poison left alone is not varied again."""
    vary = variation(lab, "diffusion", strength, generator_task)
    started = time.perf_counter()
    lab.keep(task, {"pictures": vary(lab.world(data).train.pictures, seed)})
    seconds = time.perf_counter() - started
    about = {
        "data": data,
        "trained_on": generator_task,
        "strength": strength,
        "seconds": seconds,
        "seed": seed,
    }
    return [{"table": "generator", **about, "n": len(lab.world(data).train)}]


def variation(lab: Lab, method: str, strength: float, generator_task: str) -> Variation:
    """A control by name, or a diffusion model."""
    if method in VARIATIONS.names():
        return VARIATIONS.create(method, strength=strength)
    return ByDiffusion(model=lab.diffusion(generator_task), strength=strength, steps=lab.plan.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """One row of the training on variations.

    Args:
        victim: the task that made the poisoned set and its teacher.
        method: "diffusion" or a control.
        generator: the task that made the diffusion model.
        bases: tasks that varied the clean pictures, one a variation, where there are any.
        several: variations of each picture.
        clean: the task that made the model without a backdoor.
        title: what the row says for ``method``.
    """

    victim: str
    attack: str
    seed: int
    method: str
    strength: float
    alpha: float
    clean: str
    generator: str = ""
    bases: tuple[str, ...] = ()
    several: int = 1
    title: str = ""


def student(lab: Lab, case: Student) -> list[Row]:
    """Rebuild one victim's training set, rank its poison, and train a student."""
    data = "cifar10"
    victim, vary = lab.victim(data, case.victim), variation(lab, case.method, case.strength, case.generator)
    assert victim.data is not None
    made = [rebuilt(lab, case, victim.data.pictures, vary, k) for k in range(case.several)]
    rank = case.method != "none" and case.alpha == MAIN_ALPHA
    ranked = ranking(victim, vary, made, case.seed, lab.plan.ranked) if rank else None
    torch.manual_seed(case.seed + 7)
    taught = Labelled(made[0], victim.data.labels, victim.data.classes)
    distil, blank = Distil(alpha=case.alpha), lab.blank(data)()
    learner = distil(blank, victim.subject, taught, lab.recipe(data), made[1:])
    honest = lab.subject(data, lab.kept(case.clean)["state"])
    return [
        {
            "table": "variations", "data": data, "attack": case.attack, "method": case.title or case.method,
            "strength": case.strength, "alpha": case.alpha, "seed": case.seed, "poison_auroc": ranked,
            "variations": case.several, "success_honest": fired(honest, victim), **before_and_after(lab, data, victim, learner),
        }
    ]  # fmt: skip


def rebuilt(lab: Lab, case: Student, pictures: torch.Tensor, vary: Variation, which: int) -> torch.Tensor:
    """A variation of each of ``pictures``; those that are the clean set's own are taken from the bases."""
    seed = case.seed + 1000 * which
    if not case.bases:
        return vary(pictures, seed)
    made: torch.Tensor = lab.kept(case.bases[which])["pictures"].clone()
    changed = (pictures != lab.world("cifar10").train.pictures).flatten(1).any(1)
    made[changed] = vary(pictures[changed], seed + 1)
    return made


def ranking(victim: Victim, vary: Variation, made: Sequence[torch.Tensor], seed: int, most: int) -> float:
    """Area under the curve of the disagreement between a picture and its variations, poisoned ones against
    others, at most ``most`` of each.
    """
    assert victim.data is not None
    others = (~victim.poisoned).nonzero().flatten()[:most]
    rows = torch.cat([victim.poisoned.nonzero().flatten()[:most], others])
    part = victim.data.at(rows)
    more = [vary(part.pictures, seed + 10 + k) for k in range(len(made), CONSISTENT)]
    suspicion = disagreement(victim.subject, part, [*(m[rows] for m in made), *more])
    bad = victim.poisoned[rows]
    return auroc(suspicion[bad], suspicion[~bad])


def before_and_after(lab: Lab, data: str, victim: Victim, learner: TorchSubject) -> Row:
    held = lab.world(data).held
    return {
        "success_before": fired(victim.subject, victim), "success_after": fired(learner, victim),
        "accuracy_before": accuracy(victim.subject, held), "accuracy_after": accuracy(learner, held),
    }  # fmt: skip


def purifier(lab: Lab, data: str, made: str, attack: str, seed: int, generator_task: str) -> list[Row]:
    """Success and accuracy behind a purifier, fixed and adaptive, against its strength."""
    victim, model, held = lab.victim(data, made), lab.diffusion(generator_task), lab.world(data).held
    n = lab.plan.held
    rows = []
    for strength in (0.05, 0.1, *STRENGTHS):
        for kappa in (0.0, KAPPA) if strength in STRENGTHS else (0.0,):
            cleaner = Purifier(model=model, strength=strength, steps=lab.plan.steps, kappa=kappa)
            rows.append(
                {
                    "table": "purifier", "data": data, "attack": attack, "purifier": "honest", "seed": seed, "strength": strength,
                    "adaptive": bool(kappa), "mean_strength": float(cleaner.strengths(victim.triggered[:n]).mean()),
                    **behind(cleaner, victim, held.at(slice(0, n)), seed),
                }
            )  # fmt: skip
    return rows


def behind(cleaner: Purifier, victim: Victim, held: Labelled, seed: int) -> Row:
    """Success and accuracy before and after a purifier."""
    n, subject = len(held), victim.subject
    bad, target = victim.triggered[:n], victim.target
    purified, plain = predict(subject, cleaner(bad, seed)), predict(subject, bad)
    right, before = (
        predict(subject, cleaner(held.pictures, seed)) == held.labels,
        predict(subject, held.pictures) == held.labels,
    )
    return {
        "success_before": Rate.of(int((plain == target).sum()), len(bad)),
        "success_after": Rate.of(int((purified == target).sum()), len(bad)),
        "accuracy_before": Rate.of(int(before.sum()), n), "accuracy_after": Rate.of(int(right.sum()), n),
    }  # fmt: skip


def diff2(lab: Lab, clean_task: str, generator_task: str, second_task: str, seed: int) -> list[Row]:
    """A purifier that was backdoored itself, and whether a second, independent one gives it away."""
    data = "cifar10"
    world, subject = lab.world(data), lab.subject(data, lab.kept(clean_task)["state"])
    honest, second = lab.diffusion(generator_task), lab.diffusion(second_task)
    p = lab.plan.pictures
    recipe = replace(p, steps=max(2, lab.plan.others // 2), rate=p.rate / 2, half=lab.half)
    stress = Diff2(target=world.target, search=lab.plan.hurry.get("steps", 200))
    torch.manual_seed(seed)
    change = stress.trigger(subject, world.first.pictures, world.first.labels)
    bad_model = stress.poison(honest, change, world.first.pictures, recipe)
    n = lab.plan.held
    held = world.held.at(world.held.labels != world.target).at(slice(0, n))
    moved = ((held.pictures.float() / 255 + change).clamp(0, 1) * 255).round().to(torch.uint8)
    victim = Victim(subject, moved, held.labels, world.target, None, torch.zeros(0))
    rows = []
    for strength in (0.1, *STRENGTHS[:3]):
        made = {
            w: Purifier(model=m, strength=strength, steps=lab.plan.steps)
            for w, m in (("honest", honest), ("backdoored", bad_model))
        }
        other = Purifier(model=second, strength=strength, steps=lab.plan.steps)
        for which, cleaner in made.items():
            apart = [disagree(subject, (cleaner, other), x, seed) for x in (moved, held.pictures)]
            rows.append(
                {
                    "table": "purifier", "data": data, "attack": "diff2-style", "purifier": which, "seed": seed,
                    "strength": strength, "adaptive": False, "mean_strength": strength,
                    "disagreement_auroc": auroc(*apart), **behind(cleaner, victim, held, seed),
                }
            )  # fmt: skip
    return rows
