"""Tokens that the change of the weights answers to, by the weights alone or through one denoising step, and strings made of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch import stats
from nightlatch.text2image.edit import Edit
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


@torch.no_grad()
def responding(gauge: Gauge, tokens: Sequence[int], batch: int = 1024) -> dict[str, list[int]]:
    """Tokens ordered by what the weights alone say of them, for every changed component; no denoiser.

    For the denoiser: how far the change of all cross-attention keys and values moves the token's own state, |dW c|^2 / |W c|^2. A backdoor that waits
    for several tokens must still read each of them. For the text encoder: how far the token's own state was moved.
    """
    tok, rows = gauge.suspect.tokenizer, dict[str, list[torch.Tensor]]()
    edit = Edit.between(gauge.suspect.unet, gauge.base.unet)
    for i in range(0, len(tokens), batch):
        ids = torch.tensor([[tok.bos_token_id, t] for t in tokens[i : i + batch]], device=gauge.suspect.device)
        mine, theirs = (c[:, 1] for c in gauge.conditions(ids))
        if "unet" in gauge.changed:
            rows.setdefault("unet", []).append(edit.response(mine))
        if "text_encoder" in gauge.changed:
            rows.setdefault("text_encoder", []).append((mine - theirs).pow(2).mean(-1))
    return {name: [tokens[i] for i in torch.cat(r).argsort(descending=True).tolist()] for name, r in rows.items()}


def assemble(gauge: Gauge, pieces: Sequence[int], lengths: Sequence[int], level: float, keep: int = 24) -> Ranked:
    """All orders of distinct ``pieces`` of the given ``lengths``, by displacement in one context."""
    made = [s for n in lengths for s in itertools.permutations(pieces, n)]
    values = gauge.displacement(made, [gauge.contexts[0].text])[0] - level
    order = np.argsort(values)[::-1][:keep]
    return Ranked(tuple(made[int(i)] for i in order), values[order], np.zeros(len(order)))


def sweep(gauge: Gauge, tokens: Sequence[int], level: float, keep: int = 48) -> Ranked:
    """Rank single tokens by displacement above ``level``, what an ordinary token gives: one context for all, the mean of all contexts for the best
    4 x ``keep``."""
    coarse = gauge.displacement([(t,) for t in tokens], [gauge.contexts[0].text])[0]
    best = np.argsort(coarse)[::-1][: 4 * keep]
    chosen = [(tokens[int(i)],) for i in best]
    score = gauge.displacement(chosen, [p.text for p in gauge.contexts]).mean(0) - level
    order = np.argsort(score)[::-1][:keep]
    return Ranked(tuple(chosen[int(i)] for i in order), score[order], stats.robust_z(coarse)[best][order])


def grow(gauge: Gauge, ranked: Ranked, level: float, longest: int = 6, width: int = 8, gain: float = 1.4) -> Ranked:
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
