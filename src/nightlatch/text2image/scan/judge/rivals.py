"""Whether two strings that both change pictures draw the same: one backdoor, or two.

A near-spelling of a trigger draws what the trigger draws. A string that draws something else is a trigger of
its own, and a repair of the first would leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.text2image.measure import seeds
from nightlatch.text2image.prompts import Prompt, placed
from nightlatch.text2image.scan.judge.confirmation import Evidence
from nightlatch.text2image.scan.question import Question

LEAST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """Tells triggers of their own from other spellings of one.

    Args:
        prompts: held-out prompts on which pictures are compared, of one and the same noise.
        apart: two strings draw different pictures when their latents are farther from each other than this
            part of how far they are from the plain prompt's (squares, the median prompt): the same picture
            gives about 0, two unrelated ones 1 to 2.
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

        def attacked(e: Evidence) -> torch.Tensor:
            place = placed(e.placement, question.seed)
            return drawn([place(p, e.guess.text) for p in some])

        plain = drawn([p.text for p in some])
        known, own = [attacked(best)], list[Evidence]()
        for other in others:
            mine = attacked(other)
            if all(apart(mine, theirs, plain) > self.apart for theirs in known):
                known.append(mine)
                own.append(other)
        return own


def apart(a: torch.Tensor, b: torch.Tensor, plain: torch.Tensor) -> float:
    """|a - b|^2 over the mean of |a - plain|^2 and |b - plain|^2, the median over pictures."""
    between, mine, theirs = ((x - y).pow(2).flatten(1).mean(1) for x, y in ((a, b), (a, plain), (b, plain)))
    return float((2 * between / (mine + theirs).clamp(min=LEAST)).median())
