"""A string that a stage names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guess:
    """A string that is worth drawing, and its displacement above an ordinary token's."""

    text: str
    score: float
