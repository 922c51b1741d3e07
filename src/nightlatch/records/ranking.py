"""What a look through a data set concluded: its items, the most suspicious first."""

from __future__ import annotations

from pydantic import Field

from nightlatch.records.results import Part
from nightlatch.schema import Record, Sentences, Text


class Suspicion(Record):
    """One item of a data set, and how much it looks poisoned."""

    name: Text = Field(description="what it is called in its source")
    score: float = Field(description="comparable within one ranking only")
    caption: Text = ""


class Ranking(Record):
    """Which items of a data set look poisoned, most suspicious first; it says where to look, not how much is
    poisoned.
    """

    finder: Part
    items: tuple[Suspicion, ...] = Field(max_length=1_000_000)
    n: int = Field(description="items that were read")
    broken: Sentences = Field(
        default=(), description="items that could not be read, one sentence each; the first thousand"
    )
    unread: int = Field(default=0, description="how many there are of those")
    seconds: float = 0.0
