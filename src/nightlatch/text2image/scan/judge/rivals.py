"""Whether two strings that both change pictures draw the same: one backdoor, or two.

A near-spelling of a trigger draws what the trigger draws. A string that draws something else is a trigger of
its own, and a repair of the first would leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.text2image.effect.neutral import single_token_words
from nightlatch.text2image.measure import seeds, take
from nightlatch.text2image.prompts import Prompt, placed
from nightlatch.text2image.scan.judge.confirmation import Evidence
from nightlatch.text2image.scan.question import Question

LEAST = 1e-12
SALT = 31
"""Sets the draw of the neutral words apart from a scan's other random draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """Tells triggers of their own from other spellings of one.

    Args:
        prompts: held-out prompts on which pictures are compared, of one and the same noise.
        apart: two strings draw different pictures when their latents are farther from each other than this
            part of how far they are from those of neutral words in their place (squares, the median prompt):
            the same picture gives about 0, unrelated ones 1 to 2.
    """

    name: ClassVar[str] = "rivals"
    prompts: int = 12
    apart: float = 0.5

    def __call__(
        self, question: Question, held_out: Sequence[Prompt], best: Evidence, others: Sequence[Evidence]
    ) -> list[Evidence]:
        """Those of ``others`` that draw neither what ``best`` draws nor what one before them draws."""
        if not others:
            return []
        some = held_out[: self.prompts]
        numbers = seeds(len(some), question.seed)

        def drawn(texts: Sequence[str]) -> torch.Tensor:
            return question.suspect.latents(texts, numbers, question.sampling)

        words = single_token_words(question.suspect, np.random.default_rng((question.seed, SALT)), len(some))

        def attacked(e: Evidence) -> tuple[torch.Tensor, torch.Tensor]:
            """Pictures with the string, and with neutral words in its place."""
            place = placed(e.placement, question.seed)
            return drawn([place(p, e.guess.text) for p in some]), drawn(
                [place(p, w) for p, w in zip(some, take(words, len(some)), strict=True)]
            )

        known, own = [attacked(best)], list[Evidence]()
        for other in others:
            mine = attacked(other)
            if all(apart(mine, theirs) > self.apart for theirs in known):
                known.append(mine)
                own.append(other)
        return own


Pictures = tuple[torch.Tensor, torch.Tensor]
"""Latents with a string, and with neutral words in its place, (n, channels, h, w) each."""


def apart(a: Pictures, b: Pictures) -> float:
    """|a - b|^2 over the mean of how far the two are from their neutral pictures, the median over pictures."""
    (x, x0), (y, y0) = a, b
    between, mine, theirs = ((p - q).pow(2).flatten(1).mean(1) for p, q in ((x, y), (x, x0), (y, y0)))
    return float((2 * between / (mine + theirs).clamp(min=LEAST)).median())
