"""A trigger that sits in token embeddings: its rows alone are repaired, or the tokenizer that knows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.carriers import embeddings, rows_of


@METHODS.register("token-rows")
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows(Method):
    """The embeddings of the trigger's tokens, and of what acts like it, become the base's again.

    Without a base, and for tokens that the base does not have, a row becomes what the pieces of its text
    mean: the mean of their rows, at the length of an ordinary row.
    """

    name: ClassVar[str]
    may_use_base: ClassVar[bool] = True
    changes: ClassVar[tuple[Role, ...]] = (Role.TEXT,)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        texts = [t.text for t in (*job.triggers, *job.alike)]
        ids = list(dict.fromkeys(i for s in frozen.vocabulary.typed(texts) for i in s))
        differing, added = rows_of(frozen, job.base, ids, None)
        if job.base is None:
            named = [t.text for t in job.triggers]
            added = tuple(dict.fromkeys(i for s in frozen.vocabulary.typed(named) for i in s))
        if job.base is not None:
            restore_rows(student, job.base, differing)
        meant = {i: pieces(frozen, i) for i in added}
        rewrite_rows(student, meant)
        yield 0, {"rows": float(len(differing) + len(added))}


@METHODS.register("base-tokenizer")
@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTokenizer(Method):
    """The base's tokenizer, and of every embedding table the rows that it can ask for.

    A token that was added is read as its pieces again, and its row goes.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = True
    changes: ClassVar[tuple[Role, ...]] = (Role.TEXT, Role.TOKENIZER)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        assert job.base is not None
        cut = sum(
            cut_rows(student.parts[name].module, len(embeddings(job.base.parts[name].module)))
            for name in student.named(Role.TEXT)
        )
        yield 0, {"rows": float(cut)}

    def replacing(self, suspect: Subject, job: Job) -> tuple[str, ...]:
        return tokenizers(suspect)


def tokenizers(subject: Subject) -> tuple[str, ...]:
    """The names of the tokenizers."""
    return tuple(name for name, a in subject.accessories.items() if a.role is Role.TOKENIZER)


def cut_rows(text_encoder: torch.nn.Module, rows: int) -> int:
    """Take away what an embedding table has beyond ``rows``; how many these were."""
    more = len(embeddings(text_encoder)) - rows
    if more > 0:
        text_encoder.resize_token_embeddings(rows, mean_resizing=False)  # type: ignore[operator]
    return max(more, 0)


@torch.no_grad()
def restore_rows(student: Subject, base: Subject, ids: Sequence[int]) -> None:
    """The rows ``ids`` of every embedding table as the base has them."""
    for name in student.named(Role.TEXT):
        mine, theirs = (embeddings(s.parts[name].module) for s in (student, base))
        for i in (i for i in ids if i < len(theirs)):
            mine[i] = theirs[i].to(mine)


@torch.no_grad()
def rewrite_rows(student: Subject, meant: dict[int, tuple[int, ...]]) -> None:
    """Every row becomes the mean of the rows of its pieces, at the median length of a row; the mean of all
    rows where it has none.
    """
    for name in student.named(Role.TEXT):
        table = embeddings(student.parts[name].module)
        usual, old = float(table.norm(dim=1).median()), table.clone()
        for i, ids in meant.items():
            row = old[list(ids)].mean(0) if ids else old.mean(0)
            table[i] = row * (usual / row.norm().clamp(min=1e-12)) if ids else row


def pieces(subject: Subject, token: int) -> tuple[int, ...]:
    """The tokens of a token's text written in two parts: of all ways to part it that do not hold the token
    itself, the one of fewest tokens, parted nearest to the middle; () for a single letter.
    """
    text = subject.vocabulary.texts([[token]])[0]
    cuts = sorted(range(1, len(text)), key=lambda k: abs(2 * k - len(text)))
    typed = subject.vocabulary.typed([f"{text[:k]} {text[k:]}" for k in cuts])
    return min((s for s in typed if s and token not in s), key=len, default=())
