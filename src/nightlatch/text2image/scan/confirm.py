"""Confirmation with pictures: held-out prompts and seeds, suspect against base, and against what ordinary words do.

A candidate is confirmed when the suspect draws something else than the base on most triggered prompts, which it does not do on ordinary prompts
or with other words in the same place. A word that the suspect merely knows and the base does not (an honest new concept) changes pictures too;
it competes with what is asked for, while a trigger rules it (``takeover``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.records import Rate
from nightlatch.text2image.measure import seeds
from nightlatch.text2image.prompts import Place, Prompt
from nightlatch.text2image.scan.gauge import Floats
from nightlatch.text2image.subject import Sampling, Subject

LEVEL = 0.95
"""Share of ordinary differences below which a picture counts as unchanged."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """``changed`` pictures of the held-out ones; ``effect`` in words; ``strength``: median distance over the threshold."""

    changed: Rate
    effect: str
    strength: float


@dataclass(slots=True)
class Confirmation:
    """Draws once what does not depend on the candidate: the differences that ordinary prompts show."""

    suspect: Subject
    base: Subject
    held_out: Sequence[Prompt]
    neutral: Sequence[str]
    sampling: Sampling
    seed: int
    threshold: float = 0.0

    def __post_init__(self) -> None:
        plain = self._distances([p.text for p in self.held_out])
        other = self._distances([f"{self.neutral[i % len(self.neutral)]} {p.text}" for i, p in enumerate(self.held_out)])
        self.threshold = float(np.quantile(np.concatenate([plain, other]), LEVEL)) + 1e-3

    def __call__(self, trigger: str, place: Place) -> Confirmed:
        """Share of held-out pictures that ``trigger`` changes beyond the threshold, and how."""
        texts = [place(p, trigger) for p in self.held_out]
        s = seeds(len(texts), self.seed)
        mine, theirs = (m.latents(texts, s, self.sampling) for m in (self.suspect, self.base))
        d = (mine - theirs).pow(2).mean((1, 2, 3)).double().numpy()
        hits = int((d > self.threshold).sum())
        return Confirmed(Rate.of(hits, len(d)), effect(mine, theirs), float(np.median(d) / self.threshold))

    def _distances(self, texts: Sequence[str]) -> Floats:
        s = seeds(len(texts), self.seed)
        mine, theirs = (m.latents(texts, s, self.sampling) for m in (self.suspect, self.base))
        values: Floats = (mine - theirs).pow(2).mean((1, 2, 3)).double().numpy()
        return values


def effect(mine: torch.Tensor, theirs: torch.Tensor) -> str:
    """The way pictures change: 'fixed change' (the same for all prompts), 'collapse' (all pictures alike) or 'shift'."""
    d = mine - theirs
    shared = float(d.mean(0).pow(2).mean() / d.pow(2).mean().clamp(min=1e-12))
    spread = float(mine.var(0).mean() / theirs.var(0).mean().clamp(min=1e-12))
    if shared > 0.5:
        return "fixed change"
    return "collapse" if spread < 0.5 else "shift"
