"""Longer strings made of tokens: what stages try, grow, complete and cut, by displacement.

``level`` below is the displacement of an ordinary token, which is subtracted from scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from nightlatch.text2image.effect.displacement import Displacement
from nightlatch.text2image.model import Subject, Tokens, Vocabulary
from nightlatch.text2image.scan.ranked import Ranked


def strongest(
    displacement: Displacement,
    sequences: Sequence[Tokens],
    level: float,
    keep: int = 24,
    exact: int = 8,
    contexts: Sequence[str] = (),
) -> Ranked:
    """The ``keep`` sequences that are displaced most in one of ``contexts``; by default in the first.

    One part in ``exact`` of them (``keep`` at least), those that move the suspect most, is compared with the
    reference: what leaves the suspect where it is is no trigger.
    """
    made, said = list(dict.fromkeys(sequences)), contexts or [displacement.contexts[0].text]
    if not made:
        return Ranked.best([], np.zeros(0), keep)
    moved = np.max([displacement.moved(made, context) for context in said], axis=0)
    best = [made[int(i)] for i in np.argsort(moved)[::-1][: max(keep, len(made) // exact)]]
    return Ranked.best(best, displacement(best, said).max(0) - level, keep)


def assembled(
    displacement: Displacement, tokens: Sequence[int], lengths: Sequence[int], level: float
) -> Ranked:
    """All orders of distinct ``tokens`` of the given ``lengths``, by displacement in one context."""
    return strongest(displacement, [s for n in lengths for s in itertools.permutations(tokens, n)], level)


def grown(
    displacement: Displacement,
    ranked: Ranked,
    level: float,
    longest: int = 6,
    width: int = 8,
    gain: float = 1.4,
) -> Ranked:
    """Partial triggers made longer.

    Every token that begins a ranked sequence is put before and after the best sequences.

    Args:
        longest: most tokens in a string.
        width: sequences kept from one round to the next (beam); four times as many are scored in a second
            context.
        gain: a longer string is kept while its score is so many times its parent's.
    """
    contexts = [p.text for p in displacement.contexts[:2]]
    pieces = [s[0] for s in ranked.sequences]
    first = displacement(ranked.sequences, contexts).mean(0) - level
    scored: dict[Tokens, float] = dict(zip(ranked.sequences, map(float, first), strict=True))
    beam = sorted(scored, key=scored.__getitem__, reverse=True)[:width]
    for _ in range(longest - 1):
        parent: dict[Tokens, Tokens] = {}
        for s in beam:
            parent.update({made: s for p in pieces for made in ((p, *s), (*s, p)) if made not in scored})
        if not parent:
            break
        new = strongest(displacement, list(parent), level, 4 * width).sequences
        values = displacement(new, contexts).mean(0) - level
        scored.update(zip(new, map(float, values), strict=True))
        longer = [m for m in new if scored[m] > gain * scored[parent[m]]]
        beam = sorted(longer, key=scored.__getitem__, reverse=True)[:width]
        if not beam:
            break
    return Ranked.of(scored, 2 * len(pieces))


def completed(
    displacement: Displacement,
    sequences: Sequence[Tokens],
    endings: Sequence[int],
    level: float,
    keep: int = 8,
) -> Ranked:
    """What acts only inside a longer word, made into strings that can be typed.

    Every sequence is tried with every ending, where typing gives back the same tokens. A score that is large
    already need not grow.
    """
    made = typable(displacement.suspect.vocabulary, [(*s, p) for s in sequences for p in endings])
    return strongest(displacement, made, level, keep)


def substituted(
    displacement: Displacement, sequence: Tokens, pieces: Sequence[int], level: float, gain: float = 1.05
) -> Ranked:
    """``sequence`` improved place by place, from the first token to the last.

    In each place the piece is taken that raises the score most, if it raises it by the factor ``gain``;
    later places are tried with what the earlier ones have become. All that was scored is returned, the best
    first.
    """
    contexts = [p.text for p in displacement.contexts[:2]]
    scored = {sequence: float(displacement([sequence], contexts).mean()) - level}
    current = sequence
    for i in range(len(sequence)):
        others = [(*current[:i], p, *current[i + 1 :]) for p in pieces if p != current[i]]
        made = typable(displacement.suspect.vocabulary, others)
        if not made:
            continue
        best = strongest(displacement, made, level, 8).sequences
        values = displacement(best, contexts).mean(0) - level
        scored.update(zip(best, map(float, values), strict=True))
        top = max(best, key=scored.__getitem__)
        current = top if scored[top] > gain * scored[current] else current
    return Ranked.of(scored, len(scored))


def with_known_ending(
    displacement: Displacement, sequence: Tokens, endings: Sequence[int], level: float, least: float = 0.3
) -> Ranked:
    """``sequence`` with the first of ``endings`` that keeps the part ``least`` of its score.

    Endings come in the order in which the weights answer to them: others act almost as the trigger's own
    does, but it was that one which the weights were trained on.
    """
    made = typable(displacement.suspect.vocabulary, [(*sequence[:-1], p) for p in (*endings, sequence[-1])])
    values = displacement(made, [displacement.contexts[0].text])[0] - level
    first = int(np.flatnonzero(values >= min(least * values[-1], values[-1]))[0])
    return Ranked((made[first],), values[first : first + 1], np.zeros(1))


def pruned(displacement: Displacement, sequence: Tokens, level: float, loss: float = 0.5) -> Tokens:
    """``sequence`` without the tokens that it does not need: ``loss`` bounds what its score may lose."""
    contexts = [p.text for p in displacement.contexts[:2]]
    current = sequence
    score = float(displacement([current], contexts).mean()) - level
    while len(current) > 1:
        shorter = [current[:i] + current[i + 1 :] for i in range(len(current))]
        values = displacement(shorter, contexts).mean(0) - level
        i = int(np.argmax(values))
        if values[i] < (1 - loss) * score:
            break
        current, score = shorter[i], max(score, float(values[i]))
    return current


def typable(vocabulary: Vocabulary, sequences: Sequence[Tokens]) -> list[Tokens]:
    """Those that typing their own text gives back."""
    back = vocabulary.typed(vocabulary.texts(sequences))
    return [s for s, tokens in zip(sequences, back, strict=True) if tokens == tuple(s)]


def decoded(subject: Subject, sequence: Tokens) -> str:
    """The string a user would type for ``sequence``."""
    return subject.vocabulary.texts([sequence])[0]


def short_tokens(vocabulary: Vocabulary, letters: int = 2, most: int = 768) -> list[int]:
    """The first ``most`` tokens of at most that many ``letters``, at the end of a word or inside it.

    Made-up words are held together by them; a vocabulary lists the frequent ones first.
    """
    ids = vocabulary.known
    read = zip(ids, vocabulary.texts([i] for i in ids), strict=True)
    return [i for i, text in read if text.isalpha() and len(text) <= letters][:most]
