"""What every repair shares: the job, and a final ``__call__`` that measures it and takes it back if it harms.

No repair is told the attack, the target or the judge. What it may use: the suspect, the triggers, ordinary
prompts, and, if its class says so, a trusted base.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch

from nightlatch.diffusion.memory import give_back
from nightlatch.errors import UsageError
from nightlatch.records import Carrier, Choice, ComponentChange, PlacedTrigger, Repair
from nightlatch.registry import Registry, part_of
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair.accounting import clean_change, difference, evenly_spaced

Step = tuple[int, dict[str, float]]
"""The number of a step, from 0, and what was measured in it."""
Watch = Callable[[int, Subject, float], bool]
"""Called with (step, student, seconds so far without those of watching); True stops the repair early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be repaired and with what.

    Args:
        triggers: the recovered (or given) triggers, each where it stands in a prompt.
        prompts: ordinary prompts, apart from those that verdicts are measured on.
        carriers: what the components do through which the triggers act.
        base: a trusted model, if there is one.
        sampling: how pictures to learn from are drawn.
        seed: of all that is drawn at random.
        found: what a repair that is given no trigger finds, for the record.
        alike: what acts like the triggers, each where it does; it is removed with them.
        changes: how the suspect's weights differ from a base's, by its scan; for when there is no base here.
        tried: (role, method) that earlier rounds did in vain.
        chosen: the repairs that the evidence chose, with the role that each is for; set by the repair itself.
    """

    triggers: Sequence[PlacedTrigger]
    prompts: Sequence[Prompt]
    carriers: Sequence[Role] = (Role.DENOISER,)
    base: Subject | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    found: list[PlacedTrigger] = field(default_factory=list)
    alike: Sequence[PlacedTrigger] = ()
    changes: Sequence[ComponentChange] = ()
    tried: Collection[tuple[Role, str]] = ()
    chosen: Sequence[tuple[Role, Choice]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(abc.ABC):
    """Base of all repairs. Authors write ``run``, which changes the student and yields after each step.

    Args:
        harm_limit: how far clean prompts may be drawn otherwise than before (``clean_change``); beyond it
            the suspect is returned as it came. A quarter of how far one prompt is drawn otherwise than
            another.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = False
    needs_trigger: ClassVar[bool] = True
    may_use_base: ClassVar[bool] = False
    """Whether it uses a base where there is one."""
    changes: ClassVar[tuple[Role, ...]] = (Role.TEXT, Role.DENOISER)
    """What the components do whose weights it may change."""
    harm_limit: float = 0.25

    @abc.abstractmethod
    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        """Repair ``student`` (a copy of ``frozen``) in place."""

    def replacing(self, suspect: Subject, job: Job) -> tuple[str, ...]:
        """The names of the components without weights that are taken from the base."""
        return ()

    def choices(self, suspect: Subject, job: Job) -> tuple[tuple[Role, Choice], ...]:
        """The repairs that this one is made of, for each role, where the evidence decides."""
        return ()

    def left(self, suspect: Subject, job: Job) -> tuple[str, ...]:
        """What this repair cannot change in ``suspect``, and what to do about it, a sentence or two each."""
        return ()

    def told(self, history: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
        """What the values of the steps say that the report should, a sentence or two each."""
        return ()

    @final
    def __call__(self, suspect: Subject, job: Job, watch: Watch | None = None) -> tuple[Subject, Repair]:
        """A repaired copy of ``suspect``, or an unchanged one where the repair does harm, and what was done.

        Raises:
            UsageError: there is no trigger or no prompt, the triggers act where this repair changes nothing,
                or a base is needed and not given, or is another kind of model.
        """
        self._require(suspect, job)
        started = time.monotonic()
        job = replace(job, chosen=self.choices(suspect, job))
        torch.manual_seed(job.seed)
        student = suspect.copied(*self.changes)
        give_back()
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
        replaced = self.replacing(suspect, job)
        if replaced and job.base is not None:
            student = student.but(replaced, job.base)
        seconds = time.monotonic() - started - watching
        for part in student.parts.values():
            part.module.requires_grad_(False).eval()
        rolled_back = not clean_change(student, suspect, job.prompts, job.seed) <= self.harm_limit
        if rolled_back:
            student, replaced = suspect.copy(), ()
        changed, share = difference(suspect, student)
        return student, Repair(
            method=part_of(self),
            triggers=tuple(job.triggers or job.found),
            carriers=tuple(
                Carrier(component=name, role=role) for role in job.carriers for name in suspect.named(role)
            ),
            steps=steps,
            seconds=seconds,
            used_base=self.needs_base or (self.may_use_base and job.base is not None),
            changed_tensors=changed,
            changed_share=share,
            replaced=replaced,
            choices=tuple(choice for _, choice in job.chosen),
            history=tuple(evenly_spaced(history)),
            left=() if rolled_back else (*self.left(suspect, job), *self.told(history)),
            rolled_back=rolled_back,
        )

    def _require(self, suspect: Subject, job: Job) -> None:
        needed = self.needs_trigger and not job.triggers
        if needed or not all(t.text.split() for t in job.triggers):
            raise UsageError(
                "There is no trigger to remove, or an empty one.",
                "Run scan first, or name one with --trigger.",
            )
        if len(job.prompts) < 2:
            raise UsageError(
                "There are not two prompts to repair with.", "Give a file of prompts with --prompts."
            )
        if not set(job.carriers) & set(self.changes):
            acts = ", ".join(job.carriers) or "no component"
            able = ", ".join(part.name for part in METHODS if set(job.carriers) & set(part.changes))
            remedy = (
                f"Repairs that change it: {able}." if able else "Take that component from a trusted model."
            )
            raise UsageError(f"The trigger acts in: {acts}, where {self.name} changes nothing.", remedy)
        if self.needs_base and job.base is None:
            raise UsageError(f"{self.name} needs a trusted base.", "Give one with --base.")
        uses = self.needs_base or self.may_use_base
        if uses and job.base is not None and not alike(suspect, job.base):
            sentence = f"{job.base.name} is another kind of model than {suspect.name}."
            raise UsageError(sentence, "Name the model that it was made from with --base.")


def alike(a: Subject, b: Subject) -> bool:
    """Whether the denoisers of both draw latents of one shape under conditions of one width."""
    widths = {s.read([""]).states.shape[-1] for s in (a, b)}
    return a.latent_shape == b.latent_shape and len(widths) == 1 and type(a) is type(b)


METHODS: Registry[Method] = Registry("repair", Method)  # type: ignore[type-abstract]
