"""Token ids of captions and of other wordings of them, made ahead of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from nightlatch.contrastive import grammar
from nightlatch.contrastive.subject import Subject

KEPT = 24
"""Tables of ids that are kept: several runs in one process often train on the same pairs."""


class Texts:
    """Token ids of a set of captions, and of other wordings of each; made once, so that no step waits for a
    tokenizer.

    Args:
        kinds: "reworded", "positive" and "negative", and how many of each per distinct caption.

    ``own`` is (n, tokens), ``tables`` hold (n, how many, tokens) by kind, and ``group`` the number of each
    caption among the distinct ones, (n,): equal captions have equal numbers.
    """

    def __init__(
        self, subject: Subject, captions: Sequence[str], kinds: Mapping[str, int], seed: int
    ) -> None:
        number = {c: i for i, c in enumerate(dict.fromkeys(captions))}
        group, distinct = torch.tensor([number[c] for c in captions]), tuple(number)
        made = {
            kind: _table(subject.tokenizer, subject.max_length, distinct, kind, many, seed)
            for kind, many in {"": 1, **kinds}.items()
            if many
        }
        ends = [used(t.flatten(0, 1)) for t in made.values()]
        end = max(ends) if subject.kind == "clip" else subject.max_length
        self.group = group.to(subject.device)
        self.tables = {k: t[group, :, :end].to(subject.device) for k, t in made.items()}
        self.own = self.tables.pop("")[:, 0]

    def pick(self, kind: str, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One wording of ``kind`` for each of ``rows``, (n, tokens)."""
        table = self.tables[kind]
        which = torch.randint(table.shape[1], (len(rows),), generator=generator, device=rows.device)
        return table[rows, which]


@lru_cache(maxsize=KEPT)
def _table(
    tokenizer: Any, length: int, captions: tuple[str, ...], kind: str, many: int, seed: int
) -> torch.Tensor:
    """Ids of ``many`` wordings of ``kind`` of each caption ("": its own words), (captions, many, length)."""
    rng = np.random.default_rng((seed, 5))
    vocabulary = (*grammar.nouns(captions), "thing", "place") if kind else ()
    write: dict[str, Callable[[str], str]] = {
        "": lambda c: c,
        "reworded": lambda c: grammar.reworded(c, vocabulary, rng),
        "positive": lambda c: grammar.positive(c, rng),
        "negative": lambda c: grammar.negative(c, vocabulary, rng),
    }
    texts = [write[kind](c) for _ in range(many) for c in captions]
    ids: torch.Tensor = tokenizer(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    ).input_ids
    return ids.view(many, len(captions), -1).transpose(0, 1).contiguous()


def used(ids: torch.Tensor) -> int:
    """Positions that differ from padding anywhere, one more than the last; a causal text tower reads nothing
    behind its end token.
    """
    differs = (ids != ids[:, -1:]).any(0).nonzero()
    return min(ids.shape[1], int(differs.max()) + 2) if len(differs) else ids.shape[1]
