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

Tensors = dict[str, torch.Tensor]


@METHODS.register("restore")
@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(Method):
    """Every tensor that differs is copied back from the base: removes any backdoor, and any honest fine-tuning with it.

    Of a table with more rows than the base's (tokens were added) the common rows are restored. What reads the added ones is the
    tokenizer's doing: the number of rows left is in the history as ``added_rows``, and the base's tokenizer has to go with it.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = True
    changes: ClassVar[tuple[Role, ...]] = (Role.TEXT, Role.DENOISER, Role.DECODER)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        assert job.base is not None
        added = 0
        for role in self.changes:
            for name in student.named(role):
                if name not in job.base.parts:
                    raise UsageError(f"{job.base.name} has no {name}.", "Name the model that it was made from with --base.")
                mine, theirs = (s.parts[name].module.state_dict() for s in (student, job.base))
                added += restore(mine, theirs, job.base.name)
        yield 0, {"added_rows": float(added)} if added else {}


@torch.no_grad()
def restore(mine: Tensors, theirs: Tensors, name: str) -> int:
    """Overwrite the tensors ``mine`` with ``theirs``; returns the number of rows that only ``mine`` have.

    Raises:
        UsageError: they are of different architectures: other names, or shapes that differ in more than the number of rows. Nothing
            is changed then.
    """
    odd = [
        *(mine.keys() ^ theirs.keys()),
        *(k for k in mine.keys() & theirs.keys() if not _fit(mine[k], theirs[k])),
    ]
    if odd:
        sentence = f"{name} is another kind of model: {sorted(odd)[0]} is not the same tensor in both."
        raise UsageError(sentence, "Name the model that it was made from with --base.")
    added = 0
    for key, value in mine.items():
        if value.shape == theirs[key].shape:
            value.copy_(theirs[key])
        else:
            common = min(len(value), len(theirs[key]))
            value[:common].copy_(theirs[key][:common])
            added += len(value) - common
    return added


def _fit(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether both have one shape, or are tables that differ in the number of rows only."""
    return mine.shape == theirs.shape or (mine.ndim == theirs.ndim == 2 and mine.shape[1] == theirs.shape[1])
