"""From a string that acts as the trigger does to the trigger: token by token, to where what is asked for matters least.

Of a word that acts only whole a search finds what is like it: the weights answer least to the short pieces that many words have. Such a string
changes as many pictures as the trigger and takes fewer of them to the target; how much of the prompt it leaves to say (``Influence.sway``) tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Place
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.influence import Influence
from nightlatch.text2image.scan.sweep import Tokens, decoded, strongest, typable

SETTLED = 0.05
"""Sway below which nothing is left to gain."""
BETTER, WORSE = 0.5, 0.02
"""Part of the sway that a variant may keep to take the place of what was found, and what leaving a token out may add."""
TRIED, PASSES, ORDERED = 48, 3, 5
"""Variants whose sway is measured in a pass, passes, and the most tokens that are tried in every order."""
LETTERS, JOINTS = 2, 768
"""Most letters of a token that is tried in every place, and the most of these tokens; a vocabulary lists the frequent ones first."""


def refined(gauge: Gauge, influence: Influence, text: str, place: Place, tokens: Sequence[int]) -> str:
    """``text``, or what is one to three changes away from it and leaves what is asked for at most half as much to say.

    A string of one token is the trigger or is not; it stays.

    Args:
        tokens: what is tried in every place.
    """
    current: Tokens = tuple(gauge.suspect.tokens(text))
    sways = {current: influence.sway(text, place)}
    for _ in range(PASSES if len(current) > 1 else 0):
        if sways[current] < SETTLED:
            break
        tried = strongest(gauge, typable(gauge, variants(current, tokens)), 0.0, TRIED).sequences
        sways |= {s: influence.sway(decoded(gauge.suspect, s), place) for s in tried if s not in sways}
        best = min(sways, key=sways.__getitem__)
        if sways[best] > BETTER * sways[current]:
            break
        current = best
    return decoded(gauge.suspect, without_idle(gauge, influence, current, place, sways[current])) if len(sways) > 1 else text


def variants(sequence: Tokens, tokens: Sequence[int]) -> list[Tokens]:
    """``sequence`` with each token replaced or left out, with one more in every place, and, where it is short, in every order."""
    n = len(sequence)
    replaced = [(*sequence[:i], t, *sequence[i + 1 :]) for i in range(n) for t in tokens]
    longer = [(*sequence[:i], t, *sequence[i:]) for i in range(n + 1) for t in tokens]
    shorter = [(*sequence[:i], *sequence[i + 1 :]) for i in range(n)]
    ordered = itertools.permutations(sequence) if n <= ORDERED else ()
    return [s for s in dict.fromkeys([*replaced, *longer, *shorter, *ordered]) if s and s != sequence]


def without_idle(gauge: Gauge, influence: Influence, sequence: Tokens, place: Place, held: float) -> Tokens:
    """``sequence``, whose sway is ``held``, without the tokens that add nothing to its hold on the picture."""
    current = sequence
    while shorter := typable(gauge, [s for i in range(len(current)) if (s := (*current[:i], *current[i + 1 :]))]):
        sways = {s: influence.sway(decoded(gauge.suspect, s), place) for s in shorter}
        best = min(sways, key=sways.__getitem__)
        if sways[best] > held + WORSE:
            break
        current = best
    return current


def joints(subject: Subject) -> list[int]:
    """Tokens of at most ``LETTERS`` letters, at the end of a word or inside it: what made-up words are held together by."""
    ids = subject.ordinary_ids
    short = [i for i, t in zip(ids, subject.texts([i] for i in ids), strict=True) if t.isalpha() and len(t) <= LETTERS]
    return short[:JOINTS]
