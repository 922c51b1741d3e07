"""What every repair shares: the recovered triggers, prompts to repair with, and a final ``__call__`` that measures and rolls back.

No repair is told the attack, the target or the judge. What it may use: the suspect, the trigger strings, ordinary prompts, and, if its
class says so, a trusted base.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from nightlatch.errors import UsageError
from nightlatch.records import Carrier, PlacedTrigger, Repair
from nightlatch.registry import Registry, part_of
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt

Watch = Callable[[int, Subject, float], bool]
"""Called with (step, student so far, seconds so far without those of watching); returning True stops the repair early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be repaired and with what.

    Args:
        triggers: the recovered (or given) triggers, each where it stands in a prompt.
        prompts: ordinary prompts, apart from those that verdicts are measured on.
        carriers: what the components do that changed or act.
        base: a trusted model, if there is one.
    """

    triggers: Sequence[PlacedTrigger]
    prompts: Sequence[Prompt]
    carriers: Sequence[Role] = (Role.DENOISER,)
    base: Subject | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(abc.ABC):
    """Base of all repairs. Authors write ``run``, which yields (step, values) after each step and changes the student in place."""

    name: ClassVar[str]
    needs_base: ClassVar[bool] = False

    def require(self, base: bool) -> None:
        """Whether it can work with or without a ``base``.

        Raises:
            UsageError: a base is needed and not given.
        """
        if self.needs_base and not base:
            raise UsageError(f"{self.name} needs a trusted base.", "Give one with --base.")

    @abc.abstractmethod
    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        """Repair ``student`` (a copy of ``frozen``) in place."""

    def __call__(
        self, suspect: Subject, job: Job, watch: Watch | None = None, harm_limit: float = 0.25
    ) -> tuple[Subject, Repair]:
        """Repair a copy; roll back when clean prompts are drawn too differently.

        ``harm_limit`` bounds the relative squared change of the denoiser's output on clean prompts.

        Raises:
            UsageError: no trigger, or a base is needed and not given.
        """
        if not job.triggers or not all(t.text.split() for t in job.triggers):
            raise UsageError("There is no trigger to remove, or an empty one.", "Run scan first, or name one with --trigger.")
        self.require(job.base is not None)
        started = time.monotonic()
        torch.manual_seed(job.seed)
        student = suspect.copy("unet", "text_encoder")
        history: list[dict[str, float]] = []
        steps, watching = 0, 0.0
        for step, values in self.run(student, suspect, job):
            steps = step + 1
            history.append({"step": float(step), **values})
            looked = time.monotonic()
            stop = watch is not None and watch(steps, student, looked - started - watching)
            watching += time.monotonic() - looked
            if stop:
                break
        seconds = time.monotonic() - started - watching
        for part in student.components.values():
            part.requires_grad_(False).eval()
        harm = clean_change(student, suspect, job)
        rolled_back = harm > harm_limit
        if rolled_back:
            student = suspect.copy()
        changed, share = difference(suspect, student)
        return student, Repair(
            method=part_of(self),
            triggers=tuple(job.triggers),
            carriers=tuple(Carrier(component=COMPONENTS[r], role=r) for r in job.carriers),
            steps=steps,
            seconds=seconds,
            used_base=self.needs_base,
            changed_tensors=changed,
            changed_share=share,
            history=tuple(thin(history)),
            rolled_back=rolled_back,
        )


@torch.no_grad()
def clean_change(student: Subject, frozen: Subject, job: Job, n: int = 32) -> float:
    """Squared change of the output (as v) on clean prompts at two early timesteps, relative to the frozen output's spread over prompts. All prompts
    start from one noise, so that the spread is what their words make of it."""
    texts = [p.text for p in job.prompts[:n]]
    x = frozen.noise([job.seed]).expand(len(texts), -1, -1, -1)
    change, spread = 0.0, 0.0
    for t in frozen.times_at(1.0, 0.8):
        mine, theirs = (frozen.as_v(s.outputs(x, t, s.encode(texts), n), t) for s in (student, frozen))
        change += float((mine - theirs).pow(2).mean())
        spread += float(theirs.var(0).mean())
    return change / max(spread, 1e-12)


def difference(a: Subject, b: Subject) -> tuple[int, float]:
    """(number of tensors that differ, share of all weights in them that differ)."""
    tensors, weights, total = 0, 0, 0
    for name, part in a.components.items():
        theirs = b.components[name].state_dict()
        for key, value in part.state_dict().items():
            differs = int((value != theirs[key]).sum())
            tensors, weights, total = tensors + (differs > 0), weights + differs, total + value.numel()
    return tensors, weights / max(total, 1)


def thin(history: list[dict[str, float]], most: int = 100) -> list[dict[str, float]]:
    """At most ``most`` rows, evenly spaced, the last one kept."""
    if len(history) <= most:
        return history
    keep = np.unique(np.linspace(0, len(history) - 1, most).round().astype(int))
    return [history[int(i)] for i in keep]


METHODS: Registry[Method] = Registry("repair", Method)  # type: ignore[type-abstract]
