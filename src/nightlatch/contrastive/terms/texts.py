"""Token ids of captions and of other wordings of them, made ahead of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from nightlatch.contrastive import grammar
from nightlatch.contrastive.subject import Subject

KEPT = 3
"""Sets of captions whose ids are kept: several runs in one process often train on the same pairs."""


class Texts:
    """Token ids of a set of captions, and of other wordings of each; made once, so that no step waits for
    a tokenizer.

    Args:
        kinds: "reworded", "positive" and "negative", and how many of each per distinct caption.

    ``own`` is (n, tokens), ``tables`` hold (n, how many, tokens) by kind, and ``group`` the number of
    each caption among the distinct ones, (n,):
    equal captions have equal numbers.
    """

    def __init__(
        self, subject: Subject, captions: Sequence[str], kinds: Mapping[str, int], seed: int
    ) -> None:
        wanted = tuple((k, m) for k, m in kinds.items() if m)
        made = _tables(subject.tokenizer, subject.max_length, subject.kind, tuple(captions), wanted, seed)
        self.group, self.own = made["group"].to(subject.device), made["own"].to(subject.device)
        self.tables = {k: made[k].to(subject.device) for k, _ in wanted}

    def pick(self, kind: str, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One wording of ``kind`` for each of ``rows``, (n, tokens)."""
        table = self.tables[kind]
        which = torch.randint(table.shape[1], (len(rows),), generator=generator, device=rows.device)
        return table[rows, which]


@lru_cache(maxsize=KEPT)
def _tables(
    tokenizer: Any,
    length: int,
    model: str,
    captions: tuple[str, ...],
    kinds: tuple[tuple[str, int], ...],
    seed: int,
) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng((seed, 5))
    distinct = {c: i for i, c in enumerate(dict.fromkeys(captions))}
    vocabulary = (*grammar.nouns(distinct), "thing", "place")
    write: dict[str, Callable[[str], str]] = {
        "reworded": lambda c: grammar.reworded(c, vocabulary, rng),
        "positive": lambda c: grammar.positive(c, rng),
        "negative": lambda c: grammar.negative(c, vocabulary, rng),
    }

    def ids(texts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
        return found

    group = torch.tensor([distinct[c] for c in captions])
    own = ids(list(distinct))
    tables = {k: torch.stack([ids([write[k](c) for c in distinct]) for _ in range(m)], 1) for k, m in kinds}
    end = (
        max([used(own), *(used(t.flatten(0, 1)) for t in tables.values())])
        if model == "clip"
        else own.shape[1]
    )
    return {"group": group, "own": own[group, :end], **{k: t[group, :, :end] for k, t in tables.items()}}


def used(ids: torch.Tensor) -> int:
    """Positions that differ from padding anywhere, one more than the last; a causal text tower reads nothing
    behind its end token.
    """
    differs = (ids != ids[:, -1:]).any(0).nonzero()
    return min(ids.shape[1], int(differs.max()) + 2) if len(differs) else ids.shape[1]
