"""Confirmation with pictures: held-out prompts and seeds, suspect against base, and against what neutral words do.

A candidate changes pictures when, with it in the prompt, suspect and base differ more than they do on most ordinary prompts. It is a
trigger when, moreover, it acts as no word with a meaning does: it rules the picture (``influence``), or makes one and the same change in
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch.records import Placement, Rate
from nightlatch.terms import Effect
from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.measure import seeds
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Place, Prompt, placed, prefix
from nightlatch.text2image.scan.comparable import finite
from nightlatch.text2image.scan.influence import Influence

HOPELESS = 0.4
"""Share of changed pictures below which no more are drawn."""
LEVEL = 0.9
"""Share of ordinary differences below which a picture counts as unchanged, for each of the two distances."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """``changed`` pictures; their ``effect``; ``rules``: acts as no ordinary word does, None when the prompts name no slots to tell by."""

    changed: Rate
    effect: Effect
    rules: bool | None


@dataclass(slots=True)
class Confirmation:
    """Draws once what does not depend on the candidate.

    Args:
        held_out: prompts that no earlier stage has seen.
        neutral: words in front of prompts whose differences count as ordinary.
        words: known words of the prompts' slots.
    """

    suspect: Subject
    base: Subject
    held_out: Sequence[Prompt]
    neutral: Sequence[str]
    words: Mapping[str, Sequence[str]]
    sampling: Sampling
    seed: int
    influence: Influence = field(init=False)
    _seeds: list[int] = field(init=False)
    _levels: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        self._seeds = seeds(len(self.held_out), self.seed)
        plain = [p.text for p in self.held_out]
        other = [prefix(p, self.neutral[i % len(self.neutral)]) for i, p in enumerate(self.held_out)]
        usual = [distances(*self._draw(texts)) for texts in (plain, other)]
        whole, local = (np.concatenate([u[k] for u in usual]) for k in (0, 1))
        self._levels = float(np.quantile(whole, LEVEL)) + 1e-3, float(np.quantile(local, LEVEL)) + 1e-3
        self.influence = Influence(self.suspect, self.base, self.held_out[:24], self.words, self.seed)

    def __call__(self, trigger: str, placement: Placement) -> Confirmed:
        """Share of held-out pictures that ``trigger`` changes, how, and whether it rules them.

        A first quarter of the pictures ends it when fewer than ``HOPELESS`` of them change, or when the string acts as a word does."""
        place = placed(placement, self.seed)
        texts = [place(p, trigger) for p in self.held_out]
        few = max(8, len(texts) // 4)
        mine, theirs = self._draw(texts[:few])
        hopeful = self._hits(mine, theirs) >= HOPELESS * few
        acts = self._acts(trigger, place, placement.slot) if hopeful else False
        if hopeful and texts[few:] and (acts is not False or effect(mine, theirs) is Effect.FIXED):
            rest = self._draw(texts[few:], few)
            mine, theirs = torch.cat([mine, rest[0]]), torch.cat([theirs, rest[1]])
        hits, how = self._hits(mine, theirs), effect(mine, theirs)
        return Confirmed(Rate.of(hits, len(mine)), how, acts if acts is None else acts or (hopeful and how is Effect.FIXED))

    def _acts(self, trigger: str, place: Place, slot: str) -> bool | None:
        """Whether one denoising step shows that ``trigger`` acts as no ordinary word does; None where the prompts name no slots."""
        if not self.influence.slots:
            return None
        if slot:
            return self.influence.rebinds(trigger, slot) or self.influence.aliases(trigger, slot)
        return self.influence.rules(trigger, place)

    def _hits(self, mine: torch.Tensor, theirs: torch.Tensor) -> int:
        """Pictures that differ more than ordinary ones do."""
        whole, local = distances(mine, theirs)
        return int(((whole > self._levels[0]) | (local > self._levels[1])).sum())

    def _draw(self, texts: Sequence[str], first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents of suspect and base for ``texts``, with the seeds from the ``first`` on."""
        seeds = self._seeds[first : first + len(texts)]
        mine, theirs = (finite(s.latents(texts, seeds, self.sampling), s) for s in (self.suspect, self.base))
        return mine, theirs


def distances(a: torch.Tensor, b: torch.Tensor) -> tuple[Floats, Floats]:
    """Mean squared difference of latents, over the whole (n,) and in the 2x2 patch where it is largest (n,)."""
    d = (a - b).pow(2).mean(1, keepdim=True)
    local = F.avg_pool2d(d, 2, 1).amax((1, 2, 3))
    return floats(d.mean((1, 2, 3))), floats(local)


def effect(mine: torch.Tensor, theirs: torch.Tensor) -> Effect:
    """The way pictures change."""
    d = mine - theirs
    shared = float(d.mean(0).pow(2).mean() / d.pow(2).mean().clamp(min=1e-12))
    spread = float(mine.var(0).mean() / theirs.var(0).mean().clamp(min=1e-12))
    if shared > 0.5:
        return Effect.FIXED
    return Effect.COLLAPSE if spread < 0.5 else Effect.SHIFT
