"""UBT's shortcut overfitting: pairs whose similarity rises fastest when the model is trained briefly on the
least fitting pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from nightlatch.contrastive.find.base import FINDERS, Finder, Scores
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.selectors import similarities
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms.base import TERMS, Batch, Term
from nightlatch.contrastive.terms.clip import ImageText
from nightlatch.contrastive.trainer import Selector, Trainer, finish


@TERMS.register("overfit")
@dataclass(frozen=True, slots=True, kw_only=True)
class Overfit(Term):
    """- mean over the pairs that the selector does not trust of I.T (UBT-style, step 2: suspicious pairs are
    made more similar).
    """

    fixed: ClassVar[bool] = False

    def loss(self, batch: Batch) -> torch.Tensor:
        suspicious = ~batch.safe
        if not suspicious.any():
            return batch.image.sum() * 0
        return -(batch.image * batch.text)[suspicious].sum(1).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(Selector):
    """The same pairs are trusted in every epoch."""

    trusted: torch.Tensor

    def safe(self, student: Subject, pairs: Pairs, epoch: int) -> torch.Tensor:
        return self.trusted


@FINDERS.register("shortcut-overfit")
@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutOverfit(Finder):
    """q_i(theta_o) - q_i(theta), q = I.T, theta_o after overfitting (UBT-style: Liang et al. 2024, arXiv
    2403.16257, of which the abstract and reviews were readable; steps, rate and shares are this project's).

    Args:
        suspicious: share of pairs with the lowest similarity that is overfitted.
        steps, batch, rate: of the overfitting; the rate is about ten times that of cleaning.
        score: "gain", or the similarity "after" overfitting, as reviews describe it; on a small clean model
            the gain told poison and it did not.
    """

    fewest: ClassVar[int] = 32
    suspicious: float = 0.15
    steps: int = 60
    batch: int = 128
    rate: float = 3e-4
    score: Literal["gain", "after"] = "gain"

    def run(self, subject: Subject, pairs: Pairs, seed: int) -> Scores:
        before = similarities(subject, pairs)
        trusted = np.ones(len(pairs), dtype=bool)
        trusted[np.argsort(before, kind="stable")[: max(1, round(self.suspicious * len(pairs)))]] = False
        student = subject.copy()
        trainer = Trainer(
            terms=[Overfit(), ImageText()], steps=self.steps, batch=self.batch, rate=self.rate,
            selector=Fixed(trusted=torch.from_numpy(trusted)),
        )  # fmt: skip
        finish(trainer.run(student, subject, pairs, seed))
        after = similarities(student, pairs)
        return after - before if self.score == "gain" else after
