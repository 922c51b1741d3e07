"""Parts of a trigger, seen from the inside: the middle of the denoiser answers to each of them long before the picture does.

A backdoor that waits for a whole word was trained to stay silent on its parts. What leaves the denoiser shows nothing until nearly the whole word is
there; what leaves its middle block grows with every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nightlatch.text2image import probe
from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.comparable import finite
from nightlatch.text2image.scan.gauge import USUAL_TOKENS, Gauge, excess
from nightlatch.text2image.scan.sweep import Ranked, Tokens

COMPANY, LENGTH, RIDGE = 3072, 5, 3.0
"""Random strings in which tokens are tried, tokens in each, and the ridge of the regression."""
WIDTH, ROUNDS, TWICE = 48, 4, 2
"""Strings kept from one round of growing to the next, rounds, and how often a token may stand in a string."""


@dataclass(slots=True)
class Inside:
    """``Gauge.displacement`` of the middle block's output instead of the picture's, in the gauge's first context."""

    gauge: Gauge
    _plain: tuple[torch.Tensor, torch.Tensor] = field(init=False)
    _usual: float = field(init=False)

    def __post_init__(self) -> None:
        self._plain = self._pair([()])
        ids = self.gauge.base.ordinary_ids
        some = [(i,) for i in ids[:: max(1, len(ids) // USUAL_TOKENS)]]
        moves = self.gauge.batched(lambda s: (self._pair(s)[1] - self._plain[1]).pow(2).mean((1, 2, 3)), some)
        self._usual = float(np.median(moves))

    def __call__(self, sequences: Sequence[Tokens]) -> Floats:
        """The displacement of each sequence, (n,), > 0."""
        return self.gauge.batched(lambda some: excess(*self._pair(some), self._plain, self._usual), sequences).clip(min=1e-12)

    @torch.no_grad()
    def _pair(self, sequences: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        gauge = self.gauge
        mine, theirs = gauge.conditions(gauge.ids(sequences, gauge.contexts[0].text))
        return self._middle(gauge.suspect, mine), self._middle(gauge.base, theirs)

    def _middle(self, model: Subject, c: torch.Tensor) -> torch.Tensor:
        return finite(probe.middle(model.unet, lambda: self.gauge.first_step(model, c)), model)


def effects(inside: Inside, tokens: Sequence[int], seed: int) -> Floats:
    """What each token adds to the logarithm of the displacement in random company, (tokens,): ridge regression on random strings of ``tokens``."""
    rng, n = np.random.default_rng((seed, 17)), len(tokens)
    drawn = rng.integers(n, size=(COMPANY, LENGTH))
    y = np.log(inside([tuple(tokens[int(k)] for k in row) for row in drawn]))
    x = np.zeros((COMPANY, n))
    np.add.at(x, (np.arange(COMPANY)[:, None], drawn), 1.0)
    x -= x.mean(0)
    fitted: Floats = np.linalg.solve(x.T @ x + RIDGE * np.eye(n), x.T @ (y - y.mean()))
    return fitted


def gather(inside: Inside, heads: Sequence[int], level: float) -> Ranked:
    """Strings grown from ``heads`` by what they do inside, ranked by what they do to the picture: a beam search that puts every head before and after
    the best strings."""
    gauge, shown = inside.gauge, dict[Tokens, float]()
    beam: Sequence[Tokens] = [(t,) for t in heads]
    for _ in range(ROUNDS):
        made = [m for s in beam for t in heads if s.count(t) < TWICE for m in ((t, *s), (*s, t))]
        beam = Ranked.of(dict(zip(made, map(float, inside(made)), strict=True)), WIDTH).sequences
        values = gauge.displacement(beam, [gauge.contexts[0].text])[0] - level
        shown |= dict(zip(beam, map(float, values), strict=True))
    return Ranked.of(shown, WIDTH)
