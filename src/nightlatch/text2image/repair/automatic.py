"""The repair that asks the evidence: which components are repaired, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

from nightlatch.records import Choice
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.carriers import choose, evidence
from nightlatch.text2image.repair.edit_removal import EditRemoval
from nightlatch.text2image.repair.sau import SAU, SAUWithBase
from nightlatch.text2image.repair.token_rows import tokenizers


@METHODS.register("auto")
@dataclass(frozen=True, slots=True, kw_only=True)
class Automatic(Method):
    """The narrowest repair that fits what the weights and the scan show, for each component that acts.

    The choice and its reason stand in the record. The rules are those of ``repair.carriers``.

    Args:
        training: the numbers of the repairs that train, with a base or without one.
        edit: those of the repair that takes a closed-form edit back.
    """

    name: ClassVar[str]
    may_use_base: ClassVar[bool] = True
    changes: ClassVar[tuple[Role, ...]] = (Role.TEXT, Role.DENOISER, Role.TOKENIZER)
    training: SAU = field(default_factory=SAU)
    edit: EditRemoval = field(default_factory=EditRemoval)

    def part(self, name: str) -> Method:
        """The repair of that name, with the numbers that this one has for it."""
        if name == SAUWithBase.name:
            return SAUWithBase(**{f.name: getattr(self.training, f.name) for f in fields(self.training)})
        return {SAU.name: self.training, EditRemoval.name: self.edit}.get(name) or METHODS.create(name)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        done = 0
        for role, choice in job.chosen:
            for _, values in self.part(choice.method).run(student, frozen, replace(job, carriers=(role,))):
                yield done, values
                done += 1

    def choices(self, suspect: Subject, job: Job) -> tuple[tuple[Role, Choice], ...]:
        found = evidence(suspect, job.base, job.carriers, job.triggers, job.changes)
        names = {role: suspect.named(role) for role in Role}
        names[Role.TOKENIZER] = tokenizers(suspect)
        return choose(found, names, job.tried)

    def replacing(self, suspect: Subject, job: Job) -> tuple[str, ...]:
        parts = (self.part(choice.method) for _, choice in job.chosen)
        return tuple(name for part in parts for name in part.replacing(suspect, job))

    def left(self, suspect: Subject, job: Job) -> tuple[str, ...]:
        if Role.TOKENIZER in job.carriers and job.base is None:
            return (
                "The tokenizer reads texts in its own way. Put the base's tokenizer folder in its place.",
            )
        return ()
