"""A string that a stage names."""

from __future__ import annotations

from dataclasses import dataclass

from nightlatch.text2image.scan.look import USUAL, View


@dataclass(frozen=True, slots=True)
class Guess:
    """A string that is worth drawing.

    Args:
        score: its displacement above an ordinary token's.
        view: in which it was seen: it is drawn there.
    """

    text: str
    score: float
    view: View = USUAL
