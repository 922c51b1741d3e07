"""Tokens that the change of the weights answers to, by the weights alone or through one denoising step, and strings made of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch import stats
from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.edit import Edit
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.gauge import Gauge

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates, best first: token sequences, their scores and robust z over the sweep they came from."""

    sequences: tuple[Tokens, ...]
    scores: Floats
    z: Floats

    @classmethod
    def best(cls, sequences: Sequence[Tokens], values: Floats, keep: int) -> Ranked:
        """The ``keep`` sequences with the largest values; no z."""
        order = np.argsort(values)[::-1][:keep]
        return cls(tuple(sequences[int(i)] for i in order), values[order], np.zeros(len(order)))

    @classmethod
    def of(cls, scored: Mapping[Tokens, float], keep: int) -> Ranked:
        """Like ``best``, of a table; equal scores stay in the table's order."""
        order = sorted(scored, key=scored.__getitem__, reverse=True)[:keep]
        return cls(tuple(order), np.array([scored[s] for s in order]), np.zeros(len(order)))

    @property
    def scored(self) -> dict[Tokens, float]:
        return dict(zip(self.sequences, map(float, self.scores), strict=True))

    def without(self, tokens: Set[int]) -> Ranked:
        """Those that hold none of ``tokens``."""
        left = [i for i, s in enumerate(self.sequences) if tokens.isdisjoint(s)]
        return Ranked(tuple(self.sequences[i] for i in left), self.scores[left], self.z[left])

    def merged(self, other: Ranked, keep: int) -> Ranked:
        """The best ``keep`` of both."""
        sequences = self.sequences + other.sequences
        scores, z = np.concatenate([self.scores, other.scores]), np.concatenate([self.z, other.z])
        order = np.argsort(scores)[::-1][:keep]
        return Ranked(tuple(sequences[int(i)] for i in order), scores[order], z[order])


@torch.no_grad()
def responding(gauge: Gauge, tokens: Sequence[int], batch: int = 1024) -> dict[str, list[int]]:
    """Tokens ordered by what the weights alone say of them, for every changed component; no denoiser.

    For the denoiser: how far the change of all cross-attention keys and values moves the token's own state, |dW c|^2 / |W c|^2. A backdoor that waits
    for several tokens must still read each of them. For the text encoder: how far the states of a prompt that the token stands in front of were
    moved, in that of two unlike prompts where it is more; in a causal encoder a trigger speaks through all that follows it.
    """
    rows = dict[str, list[torch.Tensor]]()
    edit = Edit.between(gauge.suspect.unet, gauge.base.unet)
    contexts = gauge.two if "text_encoder" in gauge.changed else [""]
    for i in range(0, len(tokens), batch):
        read = [_shown(gauge, tokens[i : i + batch], context) for context in contexts]
        if "unet" in gauge.changed:
            rows.setdefault("unet", []).append(edit.response(read[0][0][:, 1]))
        if "text_encoder" in gauge.changed:
            moved = torch.stack([(mine - theirs)[:, 1:].pow(2).mean((1, 2)) for mine, theirs in read])
            rows.setdefault("text_encoder", []).append(moved.amax(0))
    return {name: [tokens[i] for i in torch.cat(r).argsort(descending=True).tolist()] for name, r in rows.items()}


def _shown(gauge: Gauge, tokens: Sequence[int], context: str) -> tuple[torch.Tensor, torch.Tensor]:
    """States of suspect and base for each token in front of ``context``, without those of the padding, (tokens, positions, width) each."""
    ids = gauge.ids([(t,) for t in tokens], context)
    return gauge.conditions(ids[:, : int((ids[0] == gauge.suspect.tokenizer.eos_token_id).int().argmax()) + 1])


def assemble(gauge: Gauge, pieces: Sequence[int], lengths: Sequence[int], level: float, keep: int = 24) -> Ranked:
    """All orders of distinct ``pieces`` of the given ``lengths``, by displacement in one context."""
    return strongest(gauge, [s for n in lengths for s in itertools.permutations(pieces, n)], level, keep)


def sweep(gauge: Gauge, tokens: Sequence[int], ordinary: Floats, keep: int = 48) -> Ranked:
    """Rank single tokens by displacement above what ``ordinary`` ones give: for all in two contexts that are unlike each other, for the best
    4 x ``keep`` the mean of all contexts; z among the ordinary ones."""
    coarse = strongest(gauge, [(t,) for t in tokens], 0.0, 4 * keep, contexts=gauge.two)
    score = gauge.displacement(coarse.sequences, [p.text for p in gauge.contexts]).mean(0) - np.median(ordinary)
    order = np.argsort(score)[::-1][:keep]
    return Ranked(tuple(coarse.sequences[int(i)] for i in order), score[order], stats.robust_z(coarse.scores, ordinary)[order])


def grow(gauge: Gauge, ranked: Ranked, level: float, longest: int = 6, width: int = 8, gain: float = 1.4) -> Ranked:
    """Extend partial triggers: put the first token of every ranked sequence before and after the best sequences while a string's
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
        new = strongest(gauge, list(parent), level, 4 * width).sequences
        values = gauge.displacement(new, contexts).mean(0) - level
        scored.update(zip(new, map(float, values), strict=True))
        grown = [m for m in new if scored[m] > gain * scored[parent[m]]]
        beam = sorted(grown, key=scored.__getitem__, reverse=True)[:width]
        if not beam:
            break
    return Ranked.of(scored, 2 * len(pieces))


def strongest(
    gauge: Gauge, sequences: Sequence[Tokens], level: float, keep: int = 24, exact: int = 8, contexts: Sequence[str] = ()
) -> Ranked:
    """The ``keep`` sequences that are displaced most in one of the ``contexts``; in the gauge's first, unless others are given.

    One part in ``exact`` of them (``keep`` at least), those that move the suspect most, is compared with the base: what leaves the suspect where it
    is is no trigger.
    """
    made, said = list(dict.fromkeys(sequences)), contexts or [gauge.contexts[0].text]
    if not made:
        return Ranked.best([], np.zeros(0), keep)
    moved = np.max([gauge.moved(made, context) for context in said], axis=0)
    best = [made[int(i)] for i in np.argsort(moved)[::-1][: max(keep, len(made) // exact)]]
    return Ranked.best(best, gauge.displacement(best, said).max(0) - level, keep)


def complete(gauge: Gauge, sequences: Sequence[Tokens], pieces: Sequence[int], level: float, keep: int = 8) -> Ranked:
    """What acts only inside a longer word, made into strings that can be typed: every sequence with every ending piece, where typing gives back
    the same tokens. A score that is large already need not grow."""
    return strongest(gauge, typable(gauge, [(*s, p) for s in sequences for p in pieces]), level, keep)


def substitute(gauge: Gauge, sequence: Tokens, pieces: Sequence[int], level: float, gain: float = 1.05) -> Ranked:
    """``sequence`` with each token in turn replaced by the piece that raises its score most, if it does so by ``gain``; one pass, best last
    choice first."""
    contexts = [p.text for p in gauge.contexts[:2]]
    scored = {sequence: float(gauge.displacement([sequence], contexts).mean()) - level}
    current = sequence
    for i in range(len(sequence)):
        made = typable(gauge, [(*current[:i], p, *current[i + 1 :]) for p in pieces if p != current[i]])
        if not made:
            continue
        best = strongest(gauge, made, level, 8).sequences
        values = gauge.displacement(best, contexts).mean(0) - level
        scored.update(zip(best, map(float, values), strict=True))
        top = max(best, key=scored.__getitem__)
        current = top if scored[top] > gain * scored[current] else current
    return Ranked.of(scored, len(scored))


def known_ending(gauge: Gauge, sequence: Tokens, pieces: Sequence[int], level: float, least: float = 0.3) -> Ranked:
    """``sequence`` with its last token replaced by the first of ``pieces``, in the order of the weights' answers, that keeps ``least`` of the score:
    other endings act almost as the trigger's own does, but it was that one which the weights were trained on."""
    made = typable(gauge, [(*sequence[:-1], p) for p in (*pieces, sequence[-1])])
    values = gauge.displacement(made, [gauge.contexts[0].text])[0] - level
    first = int(np.flatnonzero(values >= min(least * values[-1], values[-1]))[0])
    return Ranked((made[first],), values[first : first + 1], np.zeros(1))


def typable(gauge: Gauge, sequences: Sequence[Tokens]) -> list[Tokens]:
    """Those that typing their own text gives back."""
    if not sequences:
        return []
    typed = gauge.suspect.tokenizer(gauge.suspect.texts(sequences), add_special_tokens=False).input_ids
    return [s for s, back in zip(sequences, typed, strict=True) if tuple(back) == s]


def decoded(subject: Subject, sequence: Tokens) -> str:
    """The string a user would type for ``sequence``."""
    return subject.texts([sequence])[0]


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
