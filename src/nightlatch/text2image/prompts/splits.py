"""Which prompts may be used for what: nothing is measured on what a scan or a repair has looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from nightlatch.text2image.prompts.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint sets: what a scan looks at, what repairs train on, and what verdicts are measured on."""

    probe: tuple[Prompt, ...]
    repair: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]


def split(prompts: Sequence[Prompt], seed: int) -> Split:
    """Divide by a hash of text and seed: a quarter to probe, a quarter to repair, half held out."""
    parts: tuple[list[Prompt], list[Prompt], list[Prompt]] = ([], [], [])
    for prompt in {p.text: p for p in prompts}.values():
        digest = hashlib.sha256(f"{seed}:{prompt.text}".encode()).digest()[0]
        parts[0 if digest < 64 else 1 if digest < 128 else 2].append(prompt)
    return Split(*(tuple(x) for x in parts))


def shared(held_out: Sequence[Prompt], most: int) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
    """Held-out prompts for a scan's pictures (``most``, never more than half) and, apart, for verify."""
    k = min(most, len(held_out) // 2)
    return held_out[:k], held_out[k:]
