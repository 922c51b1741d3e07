"""The sweep: every token of the vocabulary through text encoder and one denoising step, then the best ones grown into strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightlatch import stats
from nightlatch.text2image.scan.gauge import Floats, Gauge

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates, best first: token sequences, their scores and robust z over the sweep they came from."""

    sequences: tuple[Tokens, ...]
    scores: Floats
    z: Floats


def sweep(gauge: Gauge, tokens: Sequence[int], keep: int = 48) -> Ranked:
    """Rank single tokens; one context for all, all contexts for the best 8 x ``keep``.

    Score: displacement over the median of all candidates in the same context, mean over contexts.
    """
    first = gauge.contexts[0].text
    coarse = gauge.displacement([(t,) for t in tokens], [first])[0]
    best = np.argsort(coarse)[::-1][: 8 * keep]
    z = stats.robust_z(coarse)
    chosen = [(tokens[int(i)],) for i in best]
    fine = gauge.displacement(chosen, [p.text for p in gauge.contexts]) - float(np.median(coarse))
    score = fine.mean(0)
    order = np.argsort(score)[::-1][:keep]
    return Ranked(tuple(chosen[int(i)] for i in order), score[order], z[best][order])


def grow(gauge: Gauge, ranked: Ranked, level: float, longest: int = 6, width: int = 8, gain: float = 1.15) -> Ranked:
    """Extend partial triggers: put every ranked token before and after the best sequences while a string's
    score is ``gain`` times its parent's.

    Args:
        level: median displacement, subtracted from scores.
        longest: most tokens in a string.
        width: sequences kept from one round to the next (beam).
    """
    contexts = [p.text for p in gauge.contexts[:2]]
    pieces = [s[0] for s in ranked.sequences]
    first = gauge.displacement(ranked.sequences, contexts).mean(0) - level
    scored: dict[Tokens, float] = dict(zip(ranked.sequences, map(float, first), strict=True))
    beam = sorted(scored, key=scored.__getitem__, reverse=True)[:width]
    for _ in range(longest - 1):
        parent: dict[Tokens, Tokens] = {}
        for s in beam:
            parent.update({made: s for p in pieces for made in ((p, *s), (*s, p)) if made not in scored})
        if not parent:
            break
        new = list(parent)
        values = gauge.displacement(new, contexts).mean(0) - level
        scored.update(zip(new, map(float, values), strict=True))
        grown = [m for m in new if scored[m] > gain * scored[parent[m]]]
        beam = sorted(grown, key=scored.__getitem__, reverse=True)[:width]
        if not beam:
            break
    order = sorted(scored, key=scored.__getitem__, reverse=True)[: 2 * len(pieces)]
    return Ranked(tuple(order), np.array([scored[s] for s in order]), np.zeros(len(order)))


def prune(gauge: Gauge, sequence: Tokens, level: float, loss: float = 0.5) -> Tokens:
    """Drop tokens that the sequence does not need: its score stays within ``loss`` without them."""
    contexts = [p.text for p in gauge.contexts[:2]]
    current = sequence
    score = float(gauge.displacement([current], contexts).mean()) - level
    while len(current) > 1:
        shorter = [current[:i] + current[i + 1 :] for i in range(len(current))]
        values = gauge.displacement(shorter, contexts).mean(0) - level
        i = int(np.argmax(values))
        if values[i] < (1 - loss) * score:
            break
        current, score = shorter[i], max(score, float(values[i]))
    return current
