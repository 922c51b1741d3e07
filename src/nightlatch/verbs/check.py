"""check: are these files what they claim? Static, without torch."""

from __future__ import annotations

from pathlib import Path

from nightlatch import intake
from nightlatch.records import Manifest


def check(source: Path | str, *, values: bool = False) -> Manifest:
    """What lies in ``source`` and what the static rules find there; ``values`` also reads every weight.

    Raises:
        UnreadableModel: a hub name that cannot be fetched.
    """
    located = intake.locate(source)
    return located.annotated(intake.check(located.path, values=values))
