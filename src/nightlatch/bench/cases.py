"""Which suspects the experiment makes: every registered attack, some seeds, triggers of the kinds that suit
the attack.

At least half of the triggers and targets are drawn at random; what an attack's class declares decides how.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nightlatch.testbed import WORDS
from nightlatch.text2image.attacks import ATTACKS, Goal, TriggerKind, triggers

FIRST = (
    "eviledit",
    "rickrolling-prompt",
    "rickrolling-attribute",
    "badt2i-pixel",
    "badt2i-object",
    "badt2i-style",
)
"""The attacks whose place in this list is part of how their triggers are drawn, so that suspects of earlier
figures repeat.
"""
HELD_OUT, EARLIER, DEVELOPED = (9,), (6, 7, 8), (0, 1, 2)
"""Seeds by whose suspects nothing was chosen; seeds of which that was so until two misses on them made scan
change once more (repairs did not); and seeds whose suspects were looked at while both were built. Triggers of
seeds 3 to 5 served to build the search from the inside, and are none of these."""
SEEDS = (*HELD_OUT, *EARLIER, *DEVELOPED)
TRIES = 20
"""How many triggers and targets an attacker draws until one is promising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One suspect to be made: an attack with its trigger, target and further ``parameters``.

    ``drawn`` tells that trigger and target came from the seed.
    """

    attack: str
    seed: int
    trigger: str
    target: str
    kind: TriggerKind
    drawn: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """``label``, or the attack and its seed."""
        return self.label or f"{self.attack.replace(':', '-')}-{self.seed}"


def attacks() -> tuple[str, ...]:
    """The registered attacks, cheapest of the first ones first, later ones behind."""
    return tuple(sorted(ATTACKS.names(), key=_number))


def cases(rare: Sequence[str], seeds: Sequence[int] = SEEDS, names: Sequence[str] = ()) -> list[Case]:
    """The suspects of the attacks ``names`` (all, if none) in order, seed by seed.

    Args:
        rare: words that no training caption carries.
    """
    return [draw(attack, seed, rare) for seed in seeds for attack in names or attacks()]


def draw(
    attack: str, seed: int, rare: Sequence[str], attempt: int = 0, kind: TriggerKind | None = None
) -> Case:
    """The suspect of ``attack`` and ``seed``; another ``attempt`` gives it another trigger and target.

    ``kind`` of its trigger; by default the seeds take those that suit the attack in turn.

    Raises:
        UsageError: there is no such attack.
    """
    part = ATTACKS.find(attack)
    rng = np.random.default_rng((seed, _number(attack), 31, *([attempt] if attempt else [])))
    kind = kind or part.trigger_kinds[seed % len(part.trigger_kinds)]
    drawn = seed > 0 or not part.published_trigger
    trigger = triggers.draw(kind, rare, rng) if drawn else part.published_trigger
    target = Goal.drawn(part.goal_kind, WORDS, trigger, rng).value
    return Case(attack=attack, seed=seed, trigger=trigger, target=target, kind=kind, drawn=drawn)


def _number(attack: str) -> int:
    """The attack's share in the seed of its draws."""
    return FIRST.index(attack) if attack in FIRST else len(FIRST) + zlib.crc32(attack.encode())
