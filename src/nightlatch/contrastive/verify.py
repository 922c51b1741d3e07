"""Proof that a shortcut is gone: what triggered pictures are taken for before and after, what honest pictures
lose, and what comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms import ImageText
from nightlatch.contrastive.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Honest:
    """Ordinary fine-tuning after a repair, as somebody who loads the model would do it.

    Args:
        batch, rate: as the pairs' own training had them at its end.
    """

    batch: int = 128
    rate: float = 5e-5

    def train(self, repaired: Subject, pairs: Pairs, steps: int, seed: int) -> Subject:
        """A copy of ``repaired`` after ``steps`` on ``pairs``."""
        student = repaired.copy()
        trainer = Trainer(terms=[ImageText()], steps=steps, batch=self.batch, rate=self.rate)
        for _ in trainer.run(student, repaired, pairs, seed + 1):
            pass
        return student
