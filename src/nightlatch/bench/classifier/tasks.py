"""The experiments as a list of tasks: each has a name, what it needs, and the rows that it gives; in the
order in which they are most useful when time runs out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nightlatch.bench.classifier import fewshot_rows, guard_rows, variation_rows, victim_rows
from nightlatch.bench.classifier.lab import Lab, Row
from nightlatch.bench.classifier.plan import (
    ALPHAS,
    CONTROLS,
    MAIN_ALPHA,
    MAIN_STRENGTH,
    SEVERAL,
    SEVERALLY,
    STRENGTHS,
    VARIED,
    Plan,
)
from nightlatch.bench.classifier.variation_rows import Student

Work = Callable[[Lab], list[Row]]
MAKERS = (victim_rows.clean, victim_rows.backdoored, variation_rows.generator, variation_rows.varied)
"""Functions that keep a product, and are told its name."""


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work.

    Args:
        name: tells it from all others.
        needs: names of the tasks whose products it works with.
        makes: whether it keeps a product under its name.
        work: gives the rows; can be sent to another process.
        rank: lower ones first.
    """

    name: str
    needs: tuple[str, ...]
    makes: bool
    work: Work
    rank: float


class Tasks:
    """A list of tasks in the making."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.made: list[Task] = []

    def add(
        self,
        rank: float,
        name: str,
        needs: tuple[str, ...],
        function: Callable[..., list[Row]],
        *given: object,
    ) -> str:
        """Append a task; returns its name."""
        makes = function in MAKERS
        arguments = (name, *given) if makes else given
        self.made.append(Task(name, needs, makes, partial(_call, function, arguments), rank))
        return name

    def victims(self, data: str, model: str) -> None:
        """A clean model, the backdoored ones, and the guards on them."""
        plan = self.plan
        own = model == "resnet"
        clean = self.add(0 if own else 6, f"clean-{data}-{model}-0", (), victim_rows.clean, data, model, 0)
        self.add(7, f"scan-{clean}", (clean,), victim_rows.scan, data, model, clean, "honest", "", 0)
        for k, attack in enumerate(plan.attacks if own else ("badnets",)):
            several = own and data == "cifar10" and attack in VARIED
            for seed in plan.seeds if several else plan.seeds[:1]:
                first = (1 + k / 100 if seed == 0 else 7) if own else 6
                victim = f"victim-{data}-{model}-{attack}-{seed}"
                self.add(first, victim, (clean,), victim_rows.backdoored, data, model, attack, seed, clean)
                if seed == 0:
                    guards = 2 + k / 100 if own else 6
                    self.add(
                        guards,
                        f"guard-{victim}",
                        (victim,),
                        guard_rows.guard,
                        data,
                        model,
                        victim,
                        attack,
                        seed,
                    )
                self.add(7 if seed == 0 else 8, f"scan-{victim}", (victim,), victim_rows.scan, data, model, victim,
                         "backdoored", attack, seed)  # fmt: skip
                if several:
                    self.students(victim, attack, seed)
                if own and data == "cifar10" and seed == 0:
                    self.add(4 + k / 10, f"purify-{victim}", (victim, GENERATOR), variation_rows.purifier, data, victim, attack,
                             seed, GENERATOR)  # fmt: skip
        if own and data == "cifar10":
            for attack in [a for a in ("badnets", "blended") if a in plan.attacks]:
                victim = f"victim-{data}-{model}-{attack}-0"
                self.add(6, f"curve-{victim}", (victim,), guard_rows.curve, data, model, victim, attack, 0)

    def student(self, rank: float, name: str, needs: tuple[str, ...], case: Student) -> None:
        self.add(rank, f"student-{name}", needs, variation_rows.student, case)

    def students(self, victim: str, attack: str, seed: int) -> None:
        """Training on variations, its sweeps and controls."""
        at, clean = VARIED.index(attack) / 100, "clean-cifar10-resnet-0"

        def case(method: str, strength: float, alpha: float, several: int = 1) -> Student:
            drawn = method == "diffusion"
            return Student(
                victim=victim, attack=attack, seed=seed, method=method, strength=strength, alpha=alpha, several=several,
                generator=GENERATOR if drawn else "", bases=bases(strength, several) if drawn else (), clean=clean,
            )  # fmt: skip

        for strength in STRENGTHS if seed == 0 else (MAIN_STRENGTH,):
            for alpha in ALPHAS if strength == MAIN_STRENGTH and seed == 0 else (MAIN_ALPHA,):
                main = strength == MAIN_STRENGTH and alpha == MAIN_ALPHA
                rank = (3 if seed == 0 else 8) if main else 4.5 if alpha == MAIN_ALPHA else 5.5
                needs = (victim, clean, GENERATOR, *bases(strength))
                made = case("diffusion", strength, alpha)
                self.student(rank + at, f"{victim}-diffusion-{strength}-{alpha}", needs, made)
        for k, (strength, alpha) in enumerate(SEVERALLY if seed == 0 else SEVERALLY[:1]):
            rank = (3.3 + k) if seed == 0 else 8.3
            needs = (victim, clean, GENERATOR, *bases(strength, SEVERAL))
            made = case("diffusion", strength, alpha, SEVERAL)
            self.student(rank + at, f"{victim}-several-{strength}-{alpha}", needs, made)
        if seed:
            return
        for control in CONTROLS:
            made = case(control, MAIN_STRENGTH, MAIN_ALPHA)
            self.student(5 + at, f"{victim}-{control}", (victim, clean), made)
        several = case("heavy-augmentation", MAIN_STRENGTH, MAIN_ALPHA, SEVERAL)
        self.student(5 + at, f"{victim}-heavy-augmentation-several", (victim, clean), several)
        if attack in ("badnets", "blended"):
            worst = f"generator-{victim}"
            self.add(
                8.5 + at,
                worst,
                (victim,),
                variation_rows.generator,
                "cifar10",
                "train",
                self.plan.others,
                victim,
            )
            made = Student(
                victim=victim, attack=attack, seed=seed, method="diffusion", strength=MAIN_STRENGTH, alpha=MAIN_ALPHA,
                generator=worst, title="diffusion trained on the poisoned set", clean=clean,
            )  # fmt: skip
            self.student(9 + at, f"{victim}-poisoned-generator", (victim, clean, worst), made)


GENERATOR = "generator-first"


def bases(strength: float, several: int = 1) -> tuple[str, ...]:
    """Names of the tasks that vary the clean pictures, one a variation."""
    return tuple(f"varied-{strength}" + (f"-{k}" if k else "") for k in range(several))


def tasks(plan: Plan) -> list[Task]:
    """All tasks of ``plan``, those that matter most first."""
    made = Tasks(plan)
    made.add(0, GENERATOR, (), variation_rows.generator, "cifar10", "first", plan.pictures.steps)
    for data in plan.data:
        made.victims(data, "resnet")
    if plan.vit:
        made.victims("cifar10", "vit-tiny")
    for strength in STRENGTHS:
        rank = 2.5 if strength == MAIN_STRENGTH else 4.4
        for k, name in enumerate(bases(strength, SEVERAL if strength in dict(SEVERALLY) else 1)):
            made.add(
                rank + k / 10, name, (GENERATOR,), variation_rows.varied, "cifar10", strength, GENERATOR, k
            )
    for data in plan.fewshot:
        for how in fewshot_rows.SHIFTS:
            name = f"fewshot-{data}" if how == "usual" else f"fewshot-{data}-{how}"
            made.add(3.5, name, (), fewshot_rows.fewshot, data, how, 0)
    for data in plan.data:
        number = 0
        for attack, count in plan.models[data]:
            for k in range(min(count, plan.suite)):
                rank = 3.6 + k / 5
                made.add(rank, f"small-{data}-{attack}-{number}", (), victim_rows.small, data, attack, number)
                made.add(rank, f"small-{data}-honest-{number}", (), victim_rows.small, data, "", number)
                number += 1
    made.add(10, "cost", (), guard_rows.cost)
    second, clean = "generator-second", "clean-cifar10-resnet-0"
    made.add(5.8, second, (), variation_rows.generator, "cifar10", "second", plan.others)
    made.add(5.9, "diff2", (clean, GENERATOR, second), variation_rows.diff2, clean, GENERATOR, second, 0)
    return sorted(made.made, key=lambda t: t.rank)


def _call(function: Callable[..., list[Row]], arguments: tuple[object, ...], lab: Lab) -> list[Row]:
    return function(lab, *arguments)
