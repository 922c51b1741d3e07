"""What every finder shares: a model, pairs, and a final ``__call__`` that checks the scores."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.errors import UsageError
from nightlatch.registry import Registry

Scores = npt.NDArray[np.float64]
"""(n,) one per pair; higher means more likely poisoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Scores of pairs, and the seconds that they took."""

    scores: Scores
    seconds: float

    def top(self, k: int) -> npt.NDArray[np.int64]:
        """Rows of the ``k`` highest scores, highest first; ties in the order of the pairs."""
        rows: npt.NDArray[np.int64] = np.argsort(-self.scores, kind="stable")[:k].astype(np.int64)
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder(abc.ABC):
    """Base of all finders. Authors write ``run``; no finder is told the trigger, the target or how much is
    poisoned.
    """

    name: ClassVar[str]
    fewest: ClassVar[int] = 8
    """Pairs below which its scores mean nothing."""

    @abc.abstractmethod
    def run(self, subject: Subject, pairs: Pairs, seed: int) -> Scores:
        """One finite score per pair; may not change ``subject``."""

    def __call__(self, subject: Subject, pairs: Pairs, seed: int = 0) -> Found:
        """Checked scores.

        Raises:
            UsageError: too few pairs.
            ValueError: the scores have another shape or are not finite.
        """
        if len(pairs) < self.fewest:
            raise UsageError(
                f"{self.name} needs at least {self.fewest} pairs, and {len(pairs)} are readable.",
                "Give more pairs.",
            )
        started = time.monotonic()
        scores = np.asarray(self.run(subject, pairs, seed), dtype=np.float64)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ValueError(f"{self.name} gave scores of shape {scores.shape}, or some that are not finite")
        return Found(scores=scores, seconds=time.monotonic() - started)


FINDERS: Registry[Finder] = Registry("finder", Finder)  # type: ignore[type-abstract]
