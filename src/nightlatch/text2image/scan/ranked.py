"""Token sequences in the order of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.model import Tokens


@dataclass(frozen=True, slots=True)
class Ranked:
    """Token sequences, best first: their scores, and their z among ordinary tokens where it is known."""

    sequences: tuple[Tokens, ...]
    scores: Floats
    z: Floats

    @classmethod
    def best(cls, sequences: Sequence[Tokens], values: Floats, keep: int) -> Ranked:
        """The ``keep`` sequences with the largest values; no z."""
        order = np.argsort(values)[::-1][:keep]
        return cls(tuple(sequences[int(i)] for i in order), values[order], np.zeros(len(order)))

    @classmethod
    def of(cls, scored: Mapping[Tokens, float], keep: int) -> Ranked:
        """Like ``best``, of a table; equal scores stay in the table's order."""
        order = sorted(scored, key=scored.__getitem__, reverse=True)[:keep]
        return cls(tuple(order), np.array([scored[s] for s in order]), np.zeros(len(order)))

    @property
    def scored(self) -> dict[Tokens, float]:
        return dict(zip(self.sequences, map(float, self.scores), strict=True))

    def without(self, tokens: Set[int]) -> Ranked:
        """Those that hold none of ``tokens``."""
        left = [i for i, s in enumerate(self.sequences) if tokens.isdisjoint(s)]
        return Ranked(tuple(self.sequences[i] for i in left), self.scores[left], self.z[left])

    def joined(self, other: Ranked, keep: int) -> Ranked:
        """The best ``keep`` of both."""
        sequences = self.sequences + other.sequences
        scores, z = np.concatenate([self.scores, other.scores]), np.concatenate([self.z, other.z])
        order = np.argsort(scores)[::-1][:keep]
        return Ranked(tuple(sequences[int(i)] for i in order), scores[order], z[order])
