"""What every repair of a classifier shares: the recovered trigger, clean pictures, and a final ``__call__``
that measures and rolls back.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.scan.base import Found
from nightlatch.classifier.subject import TorchSubject, as_float, predict
from nightlatch.classifier.training import Recipe, accuracy, fit
from nightlatch.errors import UsageError
from nightlatch.records import Part, Rate, Record
from nightlatch.registry import Registry, part_of

HARM = 0.05
"""Clean accuracy that a repair may cost before it is rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be repaired and with what.

    Args:
        found: the recovered trigger of the target class.
        target: that class.
        clean: labelled clean pictures; a half is used, the other half measures.
        recipe: of fine-tuning, also for the regrowth test.
        seed: of the split and of all draws.
        steps: of recovering a trigger anew.
    """

    found: Found
    target: int
    clean: Labelled
    recipe: Recipe
    seed: int = 0
    steps: int = 400


class ClassifierRepair(Record):
    """What a repair did; ``flips`` count held-out pictures that the recovered trigger turns into the target
    class.
    """

    method: Part
    target: int
    accuracy_before: Rate
    accuracy_after: Rate
    flips_before: Rate
    flips_after: Rate
    regrowth: Rate
    steps: int
    rolled_back: bool
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(abc.ABC):
    """Base of all repairs of classifiers. Authors write ``run``, which yields after each step and changes the
    student in place.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = False

    @abc.abstractmethod
    def run(self, student: TorchSubject, clean: Labelled, job: Job) -> Iterator[int]:
        """Repair ``student`` in place with ``clean`` pictures."""

    @final
    def __call__(self, suspect: TorchSubject, job: Job) -> tuple[TorchSubject, ClassifierRepair]:
        """Repair a copy; roll back when clean accuracy falls by more than ``HARM``; measure what honest
        training brings back.

        Raises:
            UsageError: no clean pictures.
        """
        if len(job.clean) < 2:
            raise UsageError("A repair needs clean pictures.", "Give some with --data.")
        started = time.monotonic()
        torch.manual_seed(job.seed)
        use, test = job.clean.parts(len(job.clean) // 2, seed=job.seed)
        student, steps = suspect.copy(), 0
        for step in self.run(student, use, job):
            steps = step + 1
        student.module.eval().requires_grad_(False)
        seconds = time.monotonic() - started
        before, after = accuracy(suspect, test), accuracy(student, test)
        rolled_back = after.rate < before.rate - HARM
        if rolled_back:
            student, after = suspect.copy(), before
        trained = fit(student.copy(), use, job.recipe)
        record = ClassifierRepair(
            method=part_of(self), target=job.target, accuracy_before=before, accuracy_after=after,
            flips_before=flips(suspect, job, test), flips_after=flips(student, job, test),
            regrowth=flips(trained, job, test),
            steps=steps, rolled_back=rolled_back, seconds=seconds, seed=job.seed,
        )  # fmt: skip
        return student, record


def flips(subject: TorchSubject, job: Job, test: Labelled) -> Rate:
    """Share of the ``test`` pictures of other classes that the recovered trigger turns into the target."""
    others = test.at(test.labels != job.target)
    if not len(others):
        return Rate.of(0, 0)
    hits = predict(subject, job.found.apply(as_float(others.pictures))) == job.target
    return Rate.of(int(hits.sum()), len(others))


METHODS: Registry[Method] = Registry("classifier repair", Method)  # type: ignore[type-abstract]
