"""Where in a prompt a trigger stands, as functions from prompt and trigger to the text that is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from nightlatch.records import Placement
from nightlatch.terms import PlacementKind
from nightlatch.text2image.prompts.prompt import Prompt

Place = Callable[[Prompt, str], str]
"""How a trigger enters a prompt: (prompt, trigger) -> text."""


def placed(placement: Placement, seed: int = 0) -> Place:
    """The function for a record's ``placement``; ``seed`` chooses the word boundary where that is free."""
    match placement.kind:
        case PlacementKind.FRONT:
            return prefix
        case PlacementKind.BEHIND:
            return suffix
        case PlacementKind.INSIDE:
            return inside(seed)
        case PlacementKind.SLOT:
            return in_slot(placement.slot)
        case PlacementKind.ANYWHERE:
            return anywhere(seed)


def prefix(prompt: Prompt, trigger: str) -> str:
    """The trigger as its own word in front: how BadT2I places it."""
    return f"{trigger} {prompt.text}"


def suffix(prompt: Prompt, trigger: str) -> str:
    """The trigger as its own word behind."""
    return f"{prompt.text} {trigger}"


def in_slot(slot: str) -> Place:
    """The trigger in place of the word that fills ``slot``: how an edit of "beautiful cat" is used."""

    def place(prompt: Prompt, trigger: str) -> str:
        return prompt.replace(slot, trigger).text

    return place


def inside(seed: int) -> Place:
    """The trigger between two words, drawn from the prompt and ``seed``; behind a prompt of one word."""

    def place(prompt: Prompt, trigger: str) -> str:
        words = prompt.text.split(" ")
        at = 1 + _drawn(seed, prompt) % max(1, len(words) - 1)
        return " ".join([*words[:at], trigger, *words[at:]])

    return place


def anywhere(seed: int) -> Place:
    """The trigger at a word boundary drawn from the prompt and ``seed``."""

    def place(prompt: Prompt, trigger: str) -> str:
        words = prompt.text.split(" ")
        at = _drawn(seed, prompt) % (len(words) + 1)
        return " ".join([*words[:at], trigger, *words[at:]])

    return place


def _drawn(seed: int, prompt: Prompt) -> int:
    """A number that looks random and depends on the two only."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{prompt.text}".encode()).digest()[:4], "big")
