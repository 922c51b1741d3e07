"""What every cleaner shares: trusted pairs, found poison if there is any, and a final ``__call__`` that
measures and rolls back.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.contrastive import metrics
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.errors import UsageError
from nightlatch.records import Carrier, Repair
from nightlatch.registry import Registry, part_of
from nightlatch.terms import Role

Steps = Iterator[tuple[int, dict[str, torch.Tensor]]]
Watch = Callable[[int], None]
CARRIERS = (
    Carrier(component="vision_model", role=Role.IMAGE),
    Carrier(component="text_model", role=Role.TEXT),
)
"""Both towers are trained."""
HELD = 0.2
"""Share of the trusted pairs on which harm is measured; no cleaner trains on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be cleaned and with what.

    Args:
        trusted: pairs that are believed clean.
        poison: pairs that a finder (or somebody) named as poisoned; None where there are none at hand.
        seed: of everything drawn at random.
    """

    trusted: Pairs
    poison: Pairs | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(abc.ABC):
    """Base of all cleaners. Authors write ``run``, which yields (step, values) after each step and changes
    the student in place.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = False
    needs_poison: ClassVar[bool] = False
    fewest: ClassVar[int] = 10
    """Trusted pairs below which neither training nor the measure of harm means anything."""

    @abc.abstractmethod
    def run(self, student: Subject, frozen: Subject, job: Job) -> Steps:
        """Clean ``student`` (a copy of ``frozen``) in place."""

    def __call__(
        self, suspect: Subject, job: Job, watch: Watch | None = None, harm_limit: float = 0.1
    ) -> tuple[Subject, Repair]:
        """Clean a copy; give back the suspect's own weights when retrieval on trusted pairs that were kept
        apart falls by more than ``harm_limit``.

        Raises:
            UsageError: too few trusted pairs, or poison is needed and not given.
        """
        self.require(job)
        kept, train = job.trusted.split(HELD, job.seed)
        started, steps, history = time.monotonic(), 0, []
        student = suspect.copy()
        for step, values in self.run(student, suspect, Job(trusted=train, poison=job.poison, seed=job.seed)):
            steps = step + 1
            history.append((step, values))
            if watch is not None:
                watch(steps)
        student.model.requires_grad_(False).eval()
        seconds = time.monotonic() - started
        lost = metrics.retrieval(suspect, kept).rate - metrics.retrieval(student, kept).rate
        broken = not all(bool(p.isfinite().all()) for p in student.model.parameters())
        rolled_back = broken or lost > harm_limit
        if rolled_back:
            student = suspect.copy()
        changed, share = difference(suspect, student)
        return student, Repair(
            method=part_of(self),
            triggers=(),
            carriers=CARRIERS,
            steps=steps,
            seconds=seconds,
            used_base=False,
            changed_tensors=changed,
            changed_share=share,
            history=tuple(rows(history)),
            rolled_back=rolled_back,
        )

    def require(self, job: Job) -> None:
        """Whether ``job`` has what the method needs.

        Raises:
            UsageError: it lacks something.
        """
        if len(job.trusted) < self.fewest:
            raise UsageError(
                f"{len(job.trusted)} trusted pairs are too few to clean with.",
                f"Give at least {self.fewest}; thousands are better.",
            )
        if self.needs_poison and not (job.poison is not None and len(job.poison)):
            raise UsageError(
                f"{self.name} unlearns poisoned pairs, and none is given.",
                "Run 'data scan' first, or name their list.",
            )


def difference(a: Subject, b: Subject) -> tuple[int, float]:
    """(number of tensors that differ, share of all weights that differ)."""
    tensors, weights, total = 0, 0, 0
    theirs = b.model.state_dict()
    for key, value in a.model.state_dict().items():
        differs = int((value != theirs[key]).sum())
        tensors, weights, total = tensors + (differs > 0), weights + differs, total + value.numel()
    return tensors, weights / max(total, 1)


def rows(history: list[tuple[int, dict[str, torch.Tensor]]], most: int = 50) -> list[dict[str, float]]:
    """At most about ``most`` rows of numbers, evenly spaced, the last one kept; read off the device only
    here.
    """
    every = max(1, len(history) // most)
    kept = [h for i, h in enumerate(history) if i % every == 0 or i == len(history) - 1]
    return [{"step": float(step), **{k: float(v) for k, v in values.items()}} for step, values in kept]


METHODS: Registry[Method] = Registry("cleaner", Method)  # type: ignore[type-abstract]
