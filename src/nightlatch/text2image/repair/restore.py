"""The repair that knows the answer: weights copied back from a trusted base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.carriers import embeddings
from nightlatch.text2image.repair.token_rows import cut_rows, tokenizers

Tensors = dict[str, torch.Tensor]


@METHODS.register("restore")
@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(Method):
    """Every tensor is copied back from the base: that removes any backdoor, and any honest fine-tuning.

    Of a table with more rows than the base's (tokens were added) the common rows are restored, the added
    ones go, and the base's tokenizer, which does not ask for them, comes with it.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = True
    changes: ClassVar[tuple[Role, ...]] = (Role.TEXT, Role.DENOISER, Role.DECODER, Role.TOKENIZER)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        assert job.base is not None
        for name, mine, theirs in self._pairs(student, job.base):
            require_fit(mine, theirs, name)
        for _, mine, theirs in self._pairs(student, job.base):
            restore(mine, theirs)
        for name in student.named(Role.TEXT):
            cut_rows(student.parts[name].module, len(embeddings(job.base.parts[name].module)))
        yield 0, {}

    def replacing(self, suspect: Subject, job: Job) -> tuple[str, ...]:
        assert job.base is not None
        return tokenizers(suspect) if suspect.vocabulary.size > job.base.vocabulary.size else ()

    def _pairs(self, student: Subject, base: Subject) -> Iterator[tuple[str, Tensors, Tensors]]:
        """(name, tensors of ``student``, tensors of ``base``) of every component that may change."""
        for name in (name for role in self.changes for name in student.named(role)):
            theirs = base.parts[name].module.state_dict() if name in base.parts else {}
            yield name, student.parts[name].module.state_dict(), theirs


def require_fit(mine: Tensors, theirs: Tensors, name: str) -> None:
    """Whether the tensors of both are those of one architecture.

    Raises:
        UsageError: they have other names, or shapes that differ in more than the number of a table's rows.
    """
    odd = [
        *(mine.keys() ^ theirs.keys()),
        *(k for k in mine.keys() & theirs.keys() if not _fit(mine[k], theirs[k])),
    ]
    if odd:
        sentence = f"The base is another kind of model: {min(odd)} in {name} is not the same in both."
        raise UsageError(sentence, "Name the model that it was made from with --base.")


def _fit(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether both have one shape, or are tables that differ in the number of rows only."""
    return mine.shape == theirs.shape or (mine.ndim == theirs.ndim == 2 and mine.shape[1] == theirs.shape[1])


@torch.no_grad()
def restore(mine: Tensors, theirs: Tensors) -> None:
    """Overwrite the tensors ``mine`` with ``theirs``; where the number of rows differs, those in common."""
    for key, value in mine.items():
        rows = ... if value.shape == theirs[key].shape else slice(min(len(value), len(theirs[key])))
        value[rows] = theirs[key][rows]
