"""What can be told of a suspect without anything to hold it against: whether words were edited into each other.

Everything else that scan looks for needs a base, so that the verdict is "suspicious" or says that it cannot tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nightlatch import stats
from nightlatch.records import Candidate, Carrier, Ran, Trigger, Verdict
from nightlatch.registry import part_of
from nightlatch.safetext import code_points, show
from nightlatch.terms import Role
from nightlatch.text2image.effect.twins import Level, Words, amplified
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.board import NOT_TESTED
from nightlatch.text2image.scan.strings import decoded

NO_BASE = "there is no base to hold it against, and its keys and values show no edit. Give one with --base."
NEEDS_BASE = (
    "all that shows only beside a trusted base: triggers of the text encoder, of training, of adapters"
)
ROWS = 20
"""Tokens of the table."""


def alone(
    suspect: Subject, seed: int = 0, level: Level | None = None, say: Callable[[str], None] = print
) -> Verdict:
    """Look for words that a closed-form edit made twins (``effect.twins``).

    Returns:
        "suspicious" with the likelier of two twins as the trigger, which no picture has confirmed; else "not scanned".
    """
    started, level = time.monotonic(), level or Level()
    readers = suspect.sites.readers()
    say("no base: looking for words that an edit made alike")
    words = Words.of(suspect)
    best, other = words.nearest(readers, level)
    z = stats.robust_z(best.double().numpy(), best.double().numpy())
    order = best.argsort(descending=True)[:ROWS].tolist()
    one, two = (words.tokens[i] for i in (order[0], int(other[order[0]])))
    found = float(best[order[0]]) >= level.alike
    if not found:
        say(f"not scanned further: {NO_BASE}")
    names = [show(text) for text in suspect.vocabulary.texts([[one], [two]])]
    return Verdict(
        word="suspicious" if found else "not scanned",
        carriers=_carriers(suspect) if found else (),
        triggers=(_trigger(suspect, amplified(suspect, (one, two)), float(best[order[0]])),) if found else (),
        top_candidates=tuple(
            Candidate(text=decoded(suspect, (words.tokens[i],)), score=float(best[i]), robust_z=float(z[i]))
            for i in order
        ),
        tested=(
            f"keys and values of {len(words.tokens)} tokens, each alone in a prompt, against each other: most alike of those "
            f"that the text encoder tells apart are {names[0]!r} and {names[1]!r} (cosine {float(best[order[0]]):.2f}; an "
            f"edit gives {level.alike:g} or more)",
        ),
        not_tested=(NEEDS_BASE, *NOT_TESTED),
        skipped=() if found else (NO_BASE,),
        parts=(Ran(part=part_of(level), strings=len(words.tokens), seconds=time.monotonic() - started),),
        seed=seed,
        seconds=time.monotonic() - started,
    )


def _carriers(suspect: Subject) -> tuple[Carrier, ...]:
    return tuple(Carrier(component=name, role=Role.DENOISER) for name in suspect.named(Role.DENOISER))


def _trigger(suspect: Subject, token: int, alike: float) -> Trigger:
    (text,) = suspect.vocabulary.texts([[token]])
    return Trigger(
        text=text.strip(), code_points=code_points(text.strip()), token_ids=(token,),
        tokens=tuple(suspect.vocabulary.names([token])), score=alike,
    )  # fmt: skip
