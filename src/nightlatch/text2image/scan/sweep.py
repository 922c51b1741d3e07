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

    def merged(self, other: Ranked, keep: int) -> Ranked:
        """The best ``keep`` of both."""
        sequences = self.sequences + other.sequences
        scores, z = np.concatenate([self.scores, other.scores]), np.concatenate([self.z, other.z])
        order = np.argsort(scores)[::-1][:keep]
        return Ranked(tuple(sequences[int(i)] for i in order), scores[order], z[order])


def sweep(gauge: Gauge, tokens: Sequence[int], level: float, keep: int = 48) -> Ranked:
    """Rank single tokens: the coarse statistic in one context for all, displacement in all contexts for the best 4 x ``keep``.

    Score: displacement above ``level``, what an ordinary token gives, mean over contexts.
    """
    coarse = gauge.coarse([(t,) for t in tokens], gauge.contexts[0].text)
    best = np.argsort(coarse)[::-1][: 4 * keep]
    chosen = [(tokens[int(i)],) for i in best]
    score = gauge.displacement(chosen, [p.text for p in gauge.contexts]).mean(0) - level
    order = np.argsort(score)[::-1][:keep]
    return Ranked(tuple(chosen[int(i)] for i in order), score[order], stats.robust_z(coarse)[best][order])


def grow(gauge: Gauge, ranked: Ranked, level: float, longest: int = 6, width: int = 8, gain: float = 1.15) -> Ranked:
    """Extend partial triggers: put every ranked token before and after the best sequences while a string's
    score is ``gain`` times its parent's.

    Args:
        level: median displacement, subtracted from scores.
        longest: most tokens in a string.
        width: sequences kept from one round to the next (beam); four times as many are scored in a second context.
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
        coarse = gauge.displacement(new, contexts[:1])[0]
        new = [new[int(i)] for i in np.argsort(coarse)[::-1][: 4 * width]]
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
