"""Rows about guards: Diffense and its rivals on the same victims, pictures and taps."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import torch

from nightlatch.bench.classifier.lab import Lab, Row
from nightlatch.bench.classifier.measure import auroc
from nightlatch.bench.classifier.plan import FEW
from nightlatch.classifier import victims
from nightlatch.classifier.guard import DETECTORS, Batch, Scorer, scores, threshold
from nightlatch.classifier.guard.diffense import FeatureDiffusion, variant
from nightlatch.classifier.guard.guard import HELD_OUT
from nightlatch.records import Rate

FALSE_POSITIVES = 0.05
VARIANTS: dict[str, dict[str, Any]] = {
    "diffense: vectors only": {"only": ("map0", "map1", "map2", "head", "stages")},
    "diffense: positions only": {"only": ("positions",)},
    "diffense: last layer only": {"only": ("head",)},
    "diffense: all means together only": {"only": ("stages",)},
    "diffense: predicted class only": {"only": ("-far", "-peak")},
    "diffense: one step": {"distance": "residual"},
    "diffense: rarest place": {"combine": "cauchy"},
    "no diffusion: centres of classes at the same places": {
        "distance": "mahalanobis", "only": ("map0", "map1", "map2", "head", "stages"),
    },
}  # fmt: skip
"""What each part of Diffense adds, from the same fitted networks."""
FEATURED = ("diffense", "mahalanobis", "knn", "autoencoder")
"""Detectors that need nothing but the features of the classifier's own pass; the others take 5 to 40 passes
more.
"""
TIMED = 256
"""Pictures in the batch that is timed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """The pictures of one comparison, looked at by the victim once.

    Args:
        known: clean, to fit to.
        limit: clean, to take the threshold from.
        good: clean, to count false positives on.
        both: ``good`` and after it triggered ones.
        target: the attackers' class.
    """

    known: Batch
    limit: Batch
    good: int
    both: Batch
    target: int
    head: Row

    @classmethod
    def of(cls, lab: Lab, head: Row, made: str, clean: int) -> Trial:
        world, victim = lab.world(head["data"]), lab.victim(head["data"], made, head["model"])
        pictures = world.known.pictures[:clean]
        held = round(HELD_OUT * len(pictures))
        honest = world.held.pictures[: lab.plan.held]
        triggered = victim.triggered[: lab.plan.held]
        subject = victim.subject
        return cls(
            Batch.of(subject, pictures[held:]), Batch.of(subject, pictures[:held]), len(honest),
            Batch.of(subject, torch.cat([honest, triggered])), victim.target, {**head, "clean": len(pictures)},
        )  # fmt: skip

    def row(self, method: str, scorer: Scorer, seconds: float, device: str, seed: int) -> Row:
        """What ``scorer`` is worth."""
        torch.manual_seed(seed)
        limit = threshold(scores(scorer, self.limit), FALSE_POSITIVES)
        made, g = scores(scorer, self.both), self.good
        good, bad = made[:g], made[g:]
        fires, flagged = self.both.labels[g:] == self.target, made > limit
        few = self.both.at(slice(0, TIMED))
        synchronise(device)
        began = time.perf_counter()
        scores(scorer, few)
        synchronise(device)
        each = 1000 * (time.perf_counter() - began) / len(few)
        return {
            "table": "guard", **self.head, "method": method, "auroc": auroc(bad, good),
            "auroc_fired": auroc(bad[fires], good) if fires.any() else None,
            "n_clean": len(good), "n_triggered": len(bad),
            "success_before": Rate.of(int(fires.sum()), len(bad)),
            "success_after": Rate.of(int((fires & ~flagged[g:]).sum()), len(bad)),
            "false_positives": Rate.of(int(flagged[:g].sum()), g),
            "ms_per_picture": each, "fit_seconds": seconds,
        }  # fmt: skip


def fitted(lab: Lab, name: str, known: Batch, seed: int) -> tuple[Scorer, float]:
    """A detector by name."""
    fields = {f.name for f in dataclasses.fields(DETECTORS.create(name))}
    part = DETECTORS.create(name, **({"train": lab.plan.fit} if "train" in fields else {}))
    return part(known, seed)


def guard(lab: Lab, data: str, model: str, made: str, attack: str, seed: int) -> list[Row]:
    """Every detector on one victim, and what each part of Diffense adds."""
    trial = Trial.of(lab, {"data": data, "attack": attack, "model": model, "seed": seed}, made, FEW)
    rows = []
    for name in DETECTORS.names():
        scorer, seconds = fitted(lab, name, trial.known, seed)
        rows.append(trial.row(name, scorer, seconds, lab.device, seed))
        if isinstance(scorer, FeatureDiffusion):
            for title, changes in VARIANTS.items():
                other = variant(scorer, trial.known, seed, **changes)
                rows.append(trial.row(title, other, seconds, lab.device, seed))
    return rows


def curve(lab: Lab, data: str, model: str, made: str, attack: str, seed: int) -> list[Row]:
    """How many clean pictures a guard needs."""
    head = {"data": data, "attack": attack, "model": model, "seed": seed}
    rows = []
    for n in lab.plan.curve:
        trial = Trial.of(lab, head, made, n)
        for name in ("diffense", "mahalanobis", "knn"):
            scorer, seconds = fitted(lab, name, trial.known, seed)
            rows.append(trial.row(name, scorer, seconds, lab.device, seed))
    return [{**row, "table": "guard_curve"} for row in rows]


def cost(lab: Lab, repeats: int = 2) -> list[Row]:
    """Processor time of one core for ``FEATURED``, beyond the classifier's own pass, in a batch of ``TIMED``.

    The network is untrained, and detectors hardly are: what they compute does not depend on it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    subject = victims.resnet([str(k) for k in range(10)], 32, lab.plan.width, lab.plan.blocks)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (TIMED + 100, 3, 32, 32), dtype=torch.uint8, generator=generator)
    batch, known = Batch.of(subject, pictures[:TIMED]), Batch.of(subject, pictures[TIMED:])
    own = seconds_of(lambda: subject.look(pictures[:TIMED]), repeats)
    rows = []
    for name in FEATURED:
        short = {"train": 2, "copies": 1}
        given = {f.name: short[f.name] for f in dataclasses.fields(DETECTORS.create(name)) if f.name in short}
        scorer, _ = DETECTORS.create(name, **given)(known)
        spent = seconds_of(functools.partial(scores, scorer, batch), repeats)
        each, model = (1000 * s / TIMED for s in (spent, own))
        rows.append(
            {"table": "guard_cost", "method": name, "ms_per_picture": each, "model_ms": model, "seed": 0}
        )
    torch.set_num_threads(threads)
    return rows


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of ``work``."""
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
