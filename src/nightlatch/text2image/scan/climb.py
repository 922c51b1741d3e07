"""Strings of several pieces that act only as a whole: climb the displacement by its gradient with respect to the token embeddings.

HotFlip-style (Ebrahimi et al. 2018, eq. 2): to first order, putting token v in place of the one at position p changes the displacement by
g_p . (E[v] - E[current]). The best flips of every string in the beam are then measured for real. Also used with the text encoder as the only carrier.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.sweep import Ranked, Tokens
from nightlatch.text2image.subject import Subject


def climb(
    gauge: Gauge, starts: Sequence[Tokens], tokens: Sequence[int], level: float, rounds: int = 10, beam: int = 6, flips: int = 16
) -> Ranked:
    """Improve ``starts`` by single flips until no string in the beam gains 2 % any more.

    Args:
        starts: strings of any lengths, two pieces or more.
        tokens: what may be put in.
        level: median displacement, subtracted from scores.
        flips: tokens measured per position and string.
    """
    contexts = [p.text for p in gauge.contexts[:1]]
    scored = _score(gauge, list(dict.fromkeys(starts)), contexts, level)
    best = sorted(scored, key=scored.__getitem__, reverse=True)[:beam]
    for _ in range(rounds):
        new: dict[Tokens, None] = {}
        for sequence, gains in zip(best, _gains(gauge, best, tokens, contexts[0]), strict=True):
            for position in range(len(sequence)):
                for v in np.argsort(gains[position])[::-1][:flips]:
                    new[(*sequence[:position], tokens[int(v)], *sequence[position + 1 :])] = None
        fresh = [s for s in new if s not in scored]
        if not fresh:
            break
        before = scored[best[0]]
        scored.update(_score(gauge, fresh, contexts, level))
        best = sorted(scored, key=scored.__getitem__, reverse=True)[:beam]
        if scored[best[0]] < 1.02 * before:
            break
    order = sorted(scored, key=scored.__getitem__, reverse=True)[: 4 * beam]
    return Ranked(tuple(order), np.array([scored[s] for s in order]), np.zeros(len(order)))


def _score(gauge: Gauge, sequences: Sequence[Tokens], contexts: Sequence[str], level: float) -> dict[Tokens, float]:
    values = gauge.displacement(sequences, contexts).mean(0) - level
    return dict(zip(sequences, map(float, values), strict=True))


def _gains(gauge: Gauge, sequences: Sequence[Tokens], tokens: Sequence[int], context: str) -> list[torch.Tensor]:
    """First-order gain of every token at every position of every sequence: (positions, tokens) each."""
    ids = gauge.ids(sequences, context)
    models = [gauge.suspect, gauge.base] if "text_encoder" in gauge.changed else [gauge.suspect]
    with torch.enable_grad(), _leaves(models) as leaves:
        size = gauge.size(ids).sum()
        grads = torch.autograd.grad(size, [leaf for model in models for leaf in leaves[id(model)]])
    total = torch.zeros(len(sequences), ids.shape[1], len(tokens))
    for model, g in zip(models, grads, strict=True):
        table = model.text_encoder.get_input_embeddings().weight.detach()[list(tokens)]
        total += (g @ table.T).cpu()
    return [total[i, 1 : 1 + len(s)] for i, s in enumerate(sequences)]


@contextmanager
def _leaves(models: Sequence[Subject]) -> Iterator[dict[int, list[torch.Tensor]]]:
    """Token embeddings as leaves of the graph, by model, while the block runs."""
    seen: dict[int, list[torch.Tensor]] = {id(m): [] for m in models}
    handles = []
    for model in models:

        def hook(module: torch.nn.Module, args: object, out: torch.Tensor, key: int = id(model)) -> torch.Tensor:
            leaf = out.detach().requires_grad_()
            seen[key].append(leaf)
            return leaf

        handles.append(model.text_encoder.get_input_embeddings().register_forward_hook(hook))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
