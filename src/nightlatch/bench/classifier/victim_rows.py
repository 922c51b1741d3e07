"""Rows about victims: clean ones, backdoored ones, and what a classifier's scanners and repairs say of them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch

from nightlatch.bench.classifier.lab import Lab, Row, Victim
from nightlatch.bench.classifier.plan import RUNGS, VARIED
from nightlatch.classifier.attacks import ATTACKS, Attack, AttackRecord, Planted, Setting
from nightlatch.classifier.attacks.base import ACCURACY_LOSS, triggered
from nightlatch.classifier.repair import METHODS, Job
from nightlatch.classifier.scan import SCANNERS, Found
from nightlatch.classifier.subject import TorchSubject, predict
from nightlatch.classifier.training import accuracy, fit, tuned
from nightlatch.records import Rate

LESS = 0.05
"""Share of poison that is tried where the usual one costs too much accuracy."""
SCANNED = 500
"""Clean pictures that a scanner gets."""


def clean(lab: Lab, task: str, data: str, model: str, seed: int) -> list[Row]:
    """Train a clean victim and keep it."""
    world = lab.world(data)
    torch.manual_seed(seed + 1000)
    subject = fit(lab.blank(data, model)(), world.train, lab.recipe(data, model))
    lab.keep(task, {"state": subject.module.state_dict()})
    held = accuracy(subject, world.held)
    return [{"table": "clean", "data": data, "model": model, "seed": seed, "accuracy": held}]


def backdoored(
    lab: Lab, task: str, data: str, model: str, attack: str, seed: int, clean_task: str
) -> list[Row]:
    """Make a backdoored victim and keep it with its triggered held-out pictures. An attack that is refused is
    a row, and is tried again with the next stronger setting; what no setting makes is not kept.
    """
    world = lab.world(data)
    setting = Setting(
        train=world.train, test=world.held, blank=lab.blank(data, model), recipe=lab.recipe(data, model),
        clean=lab.subject(data, lab.kept(clean_task)["state"], model), seed=seed,
    )  # fmt: skip
    rows: list[Row] = []
    kept = lab.planted.get(task)
    settings: list[dict[str, Any]] = [{}, *RUNGS.get(attack, ())] if kept is None else [dict(kept)]
    while settings:
        given = settings.pop(0)
        known = {f.name for f in fields(ATTACKS.create(attack))}
        given = given | {k: v for k, v in lab.plan.hurry.items() if k in known}
        part = ATTACKS.create(attack, **{"target": world.target, **given})
        torch.manual_seed(seed)
        planted, record, weak = tried(part, setting)
        rows.append(
            {
                "table": "attacks", "data": data, "attack": attack, "model": model, "seed": seed,
                "success": record.success, "accuracy": record.accuracy, "accuracy_clean": record.accuracy_clean,
                "poisoned": record.poisoned, "n_train": len(world.train), "floor": part.floor, "refused": weak,
                "parameters": record.attack.parameters,
            }
        )  # fmt: skip
        if not weak or lab.plan.most:  # the smallest plan goes on with what it has
            wanted = attack in VARIED and data == "cifar10" and model == "resnet"
            keep(
                lab,
                task,
                planted,
                part.candidates(world.held).at(slice(0, lab.plan.held)),
                part.target,
                wanted,
            )
            break
        if record.success.rate >= part.floor and part.share > LESS:  # it works, and shows in the accuracy
            settings.insert(0, {**given, "share": LESS})
    return rows


def tried(part: Attack, setting: Setting) -> tuple[Planted, AttackRecord, bool]:
    """(what the attack made, its figures, whether it is too weak)."""
    planted = part.run(setting)
    record = part.measure(setting, planted, 0.0)
    costs = record.accuracy_clean.rate - record.accuracy.rate
    return planted, record, record.success.rate < part.floor or costs > ACCURACY_LOSS


def keep(lab: Lab, task: str, planted: Planted, asked: Any, target: int, data: bool) -> None:
    """Write a victim with its triggered pictures, and with its training pictures where ``data`` is true."""
    state: dict[str, Any] = {
        "state": planted.subject.module.state_dict(), "triggered": triggered(planted.apply, asked.pictures),
        "truth": asked.labels, "target": target, "poisoned": planted.poisoned,
    }  # fmt: skip
    if data:
        state |= {"pictures": planted.data.pictures, "labels": planted.data.labels}
    lab.keep(task, state)


def scan(lab: Lab, data: str, model: str, made: str, kind: str, attack: str, seed: int) -> list[Row]:
    """Both scanners on one model; of a backdoored one also the repairs with what inversion found."""
    world = lab.world(data)
    subject = lab.subject(data, lab.kept(made)["state"], model)
    rows, found = scanned(
        lab, subject, data, made, {"kind": kind, "attack": attack, "target": world.target}, seed
    )
    if kind == "backdoored":
        rows += repairs(lab, data, model, made, found["neural-cleanse"], seed)
    return rows


def scanned(
    lab: Lab, subject: TorchSubject, data: str, made: str, truth: Row, seed: int
) -> tuple[list[Row], dict[str, list[Found]]]:
    """What every scanner says of ``subject``; ``truth`` is what it should have found."""
    rows, found = [], {}
    for name in SCANNERS.names():
        given = {"steps": lab.plan.inversion} if name == "neural-cleanse" else {}
        known = lab.world(data).known.pictures[:SCANNED]
        record, found[name] = SCANNERS.create(name, **given)(subject, known, seed)
        rows.append(
            {
                "table": "scan", "data": data, "model": made, **truth, "method": name, "seed": seed,
                "score": record.score, "suspicious": record.suspicious, "found": record.target,
                "right": truth["kind"] == "backdoored" and record.target == truth["target"],
                "seconds": record.seconds, "anomalies": [round(c.anomaly, 3) for c in record.classes],
                "flips": [round(c.flips.rate, 3) for c in record.classes],
            }
        )  # fmt: skip
    return rows, found


def small(lab: Lab, data: str, attack: str, number: int) -> list[Row]:
    """A small model, honest or backdoored with a target of its own, and what the scanners say of it."""
    world, recipe, seed = lab.world(data), lab.recipe(data, "small"), 100 + number
    blank, made = lab.blank(data, "small"), f"small-{data}-{attack or 'honest'}-{number}"
    torch.manual_seed(seed)
    if not attack:
        subject = fit(blank(), world.train, recipe)
        score = accuracy(subject, world.held)
        about: Row = {"table": "clean", "data": data, "model": "small", "seed": seed, "accuracy": score}
        rows = scanned(lab, subject, data, made, {"kind": "honest", "attack": "", "target": -1}, seed)[0]
        return [about, *rows]
    target = (3 * number + 1) % len(world.train.classes)
    setting = Setting(
        train=world.train, test=world.held, blank=blank, recipe=recipe, clean=blank(), seed=seed
    )
    part = ATTACKS.create(attack, target=target)
    planted = part.run(setting)
    record = part.measure(setting, planted, 0.0)
    weak = record.success.rate < part.floor
    about = {
        "table": "attacks", "data": data, "attack": attack, "model": "small", "seed": seed,
        "success": record.success, "accuracy": record.accuracy, "poisoned": record.poisoned,
        "n_train": len(world.train), "floor": part.floor, "refused": weak, "parameters": record.attack.parameters,
    }  # fmt: skip
    if weak and not lab.plan.most:
        return [about]
    truth = {"kind": "backdoored", "attack": attack, "target": target, "success": record.success}
    return [about, *scanned(lab, planted.subject, data, made, truth, seed)[0]]


def repairs(lab: Lab, data: str, model: str, made: str, found: list[Found], seed: int) -> list[Row]:
    """Every repair with the trigger that inversion has for the attackers' class; success is counted with the
    attackers' own trigger.
    """
    world, victim = lab.world(data), lab.victim(data, made, model)
    recipe = tuned(replace(lab.recipe(data), epochs=5, batch=128, rate=0.02), victim.subject.module)
    rows = []
    for name in METHODS.names():
        job = Job(
            found=found[victim.target],
            target=victim.target,
            clean=world.known.at(slice(0, 2000)),
            recipe=recipe,
            seed=seed,
        )
        repaired, record = METHODS.create(name)(victim.subject, job)
        trained = fit(repaired.copy(), job.clean.at(slice(0, 1000)), recipe)
        rows.append(
            {
                "table": "repair", "data": data, "model": made, "method": name, "seed": seed,
                "success_before": fired(victim.subject, victim), "success_after": fired(repaired, victim),
                "accuracy_before": accuracy(victim.subject, world.held),
                "accuracy_after": accuracy(repaired, world.held),
                "regrowth": fired(trained, victim), "rolled_back": record.rolled_back, "seconds": record.seconds,
            }
        )  # fmt: skip
    return rows


def fired(subject: TorchSubject, victim: Victim) -> Rate:
    """Share of the victim's triggered pictures that ``subject`` gives the target."""
    return Rate.of(int((predict(subject, victim.triggered) == victim.target).sum()), len(victim.triggered))
