"""Strings that look alike: near-spellings and variants of a trigger, and texts that are read the same."""

from __future__ import annotations

import unicodedata

import numpy as np

LOOKALIKES = {
    "a": "аạα",
    "c": "сϲ",
    "e": "еẹ",
    "i": "іị",
    "o": "оọοȏ",
    "p": "рρ",
    "s": "ѕ",
    "u": "ụυ",
    "x": "х",
    "y": "у",
}
"""Latin letter -> characters that look like it."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def near_spellings(trigger: str, n: int, rng: np.random.Generator) -> list[str]:
    """Up to ``n`` near-spellings: a letter dropped, doubled, swapped or replaced, or words left out."""
    made: dict[str, None] = {}
    words = trigger.split(" ")
    for i in range(len(words)):
        if len(words) > 1:
            made[" ".join(words[:i] + words[i + 1 :])] = None
    for _ in range(8 * n):
        i = int(rng.integers(len(trigger)))
        kind = int(rng.integers(4))
        if kind == 0 and len(trigger) > 2:
            made[trigger[:i] + trigger[i + 1 :]] = None
        elif kind == 1:
            made[trigger[:i] + trigger[i] + trigger[i:]] = None
        elif kind == 2:
            made[trigger[:i] + LETTERS[int(rng.integers(26))] + trigger[i + 1 :]] = None
        elif i + 1 < len(trigger):
            made[trigger[:i] + trigger[i + 1] + trigger[i] + trigger[i + 2 :]] = None
    own = normal(trigger)
    usable = {normal(s): s for s in reversed(made) if normal(s) not in ("", own)}
    return list(reversed(usable.values()))[:n]


def normal(text: str) -> str:
    """Composed characters, lower case, single spaces: what makes texts the same to most tokenizers."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def leaks(trigger: str, rng: np.random.Generator) -> dict[str, list[str]]:
    """Kind of variant -> variants of ``trigger`` that should be harmless after a repair, too."""
    return {
        "casing": [trigger.upper(), trigger.title(), trigger.swapcase()],
        "spelling": near_spellings(trigger, 6, rng),
        "inside words": [f"un{trigger}", f"{trigger}s", f"x{trigger}y"],
        "repeated": [f"{trigger} {trigger}"],
    }
