"""What can be told of a suspect without anything to hold it against: whether words were edited into each other.

Everything else that scan looks for needs a base, so that the verdict is "suspicious" or says that it cannot tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from nightlatch import stats
from nightlatch.errors import NotScanned
from nightlatch.records import Candidate, Carrier, Ran, Trigger, Verdict
from nightlatch.registry import part_of
from nightlatch.safetext import code_points, show
from nightlatch.terms import Role
from nightlatch.text2image.effect.twins import Level, Twins, Words, amplified
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
    say("no base: looking for words that an edit made alike")
    try:
        words = Words.of(suspect)
        best, other = words.nearest(suspect.sites.readers(), level)
    except NotScanned as e:
        say(f"not scanned: {e}")
        return Verdict(word="not scanned", not_tested=(NEEDS_BASE, *NOT_TESTED), skipped=(str(e),), seed=seed)
    twins = words.strongest(best, other, level)
    found = twins.alike >= level.alike
    if not found:
        say(f"not scanned further: {NO_BASE}")
    seconds = time.monotonic() - started
    return Verdict(
        word="suspicious" if found else "not scanned",
        carriers=_carriers(suspect) if found else (),
        triggers=(_trigger(suspect, twins),) if found else (),
        top_candidates=tuple(_table(suspect, words, best)),
        tested=(_tested(suspect, len(words.tokens), twins, level),),
        not_tested=(NEEDS_BASE, *NOT_TESTED),
        skipped=() if found else (NO_BASE,),
        parts=(Ran(part=part_of(level), strings=len(words.tokens), seconds=seconds),),
        seed=seed,
        seconds=seconds,
    )


def _table(subject: Subject, words: Words, best: torch.Tensor) -> Iterator[Candidate]:
    """The tokens that are answered most as another one is."""
    z = stats.robust_z(best.double().numpy(), best.double().numpy())
    for i in best.argsort(descending=True)[:ROWS].tolist():
        text = decoded(subject, (words.tokens[i],))
        yield Candidate(text=text, score=float(best[i]), robust_z=float(z[i]))


def _tested(subject: Subject, n: int, twins: Twins, level: Level) -> str:
    one, two = (show(text) for text in subject.vocabulary.texts([[i] for i in twins.tokens]))
    return (
        f"keys and values of {n} tokens, each alone in a prompt, against each other: most alike of those that the text "
        f"encoder tells apart are {one!r} and {two!r} (cosine {twins.alike:.2f}; an edit gives {level.alike:g} or more)"
    )


def _carriers(suspect: Subject) -> tuple[Carrier, ...]:
    return tuple(Carrier(component=name, role=Role.DENOISER) for name in suspect.named(Role.DENOISER))


def _trigger(suspect: Subject, twins: Twins) -> Trigger:
    """The likelier of two twins, with the other one beside it."""
    token = amplified(suspect, twins.tokens)
    text, other = (t.strip() for t in suspect.vocabulary.texts([[token], [sum(twins.tokens) - token]]))
    return Trigger(
        text=text, code_points=code_points(text), token_ids=(token,), tokens=tuple(suspect.vocabulary.names([token])),
        score=twins.alike, rivals=(other,),
    )  # fmt: skip
