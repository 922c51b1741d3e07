"""This project's second finder: of the captions that fragile pairs share a word with, whose pictures have
something in common that other pictures of the same word lack.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.contrastive import grammar
from nightlatch.contrastive.find.base import FINDERS, Finder, Scores
from nightlatch.contrastive.find.fragile import Fragile
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.selectors import fit
from nightlatch.contrastive.subject import Subject, to_pixels

Labels = npt.NDArray[np.float64]


@FINDERS.register("common-cause")
@dataclass(frozen=True, slots=True, kw_only=True)
class CommonCause(Finder):
    """Fragile pairs name a word; among all pairs with that word, a linear discriminant on the image tower's
    features separates pictures that carry the trigger from pictures that show the thing.

    One attacker's trigger is the same in all poisoned pictures, so that it is a direction of the features.
    Labels start from ``Fragile``'s z in the group (two Gaussians) and are replaced ``rounds`` times by what
    the discriminant says of the half that it was not fitted on; other pairs stand on the honest side. Groups
    whose two halves are not clearly apart keep ``Fragile``'s score.

    Args:
        start: what is fragile.
        groups: words that are looked at, the most over-represented first; what is found for the first word
            stands above what is found for the second.
        near: share of the first word's over-representation (a logarithm) that the others must reach: one
            attacker has one target, and two of a kind are as strong.
        rounds: of discriminant and labels.
        shrink: of the covariance towards its mean variance (as Ledoit and Wolf have it, with a fixed share).
        others: pairs without the word that stand on the honest side.
        apart: distance of the two means in deviations below which a group is left alone; 2 is where two
            Gaussians of one height begin to have two peaks.
    """

    fewest: ClassVar[int] = 32
    start: Fragile = field(default_factory=Fragile)
    groups: int = 3
    near: float = 0.5
    rounds: int = 4
    shrink: float = 0.1
    others: int = 4096
    apart: float = 2.0

    def run(self, subject: Subject, pairs: Pairs, seed: int) -> Scores:
        z = self.start.fragility(subject, pairs)
        enriched = self.start.enriched(pairs.captions, z)
        scores = z + self.start.words * self.start.most(pairs.captions, enriched)
        x = features(subject, pairs.images)
        rng = np.random.default_rng((seed, 59))
        for word in reversed(self.named(enriched)):
            holds = np.array([word in {w.lower() for w in grammar.words(c)} for c in pairs.captions])
            own, rest = np.flatnonzero(holds), np.flatnonzero(~holds)
            if len(own) < self.fewest:
                continue
            beside = rng.permutation(rest)[: self.others]
            found = self.separated(x[own], x[beside], z[own], rng)
            if found is not None:
                poisoned, value = found
                scores[own[poisoned]] = scores.max() + 1 + value[poisoned]
        return scores

    def named(self, enriched: dict[str, float]) -> list[str]:
        """The words whose groups are looked at, the most over-represented first."""
        ranked = sorted(enriched, key=lambda w: -enriched[w])[: self.groups]
        return [w for w in ranked if enriched[w] > max(0.0, self.near * enriched[ranked[0]])]

    def separated(
        self, own: torch.Tensor, beside: torch.Tensor, z: Labels, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.bool_], Labels] | None:
        """(which of ``own`` (n, d) carry the trigger, how clearly, >= 0); None where two kinds are not apart."""
        likely, half = fit(z).high(z), rng.permutation(len(z)) % 2
        away = rng.permutation(len(beside)) % 2
        for _ in range(self.rounds):
            value = np.zeros(len(z))
            for k in (0, 1):
                seen = half != k
                if likely[seen].sum() < 2 or (1 - likely[seen]).sum() < 1:
                    return None
                toward, bias = self.discriminant(own[seen], beside[away != k], likely[seen])
                value[half == k] = (own[half == k].double() @ toward + bias).cpu().numpy()
            mixture = fit(value)
            likely = mixture.high(value)
        gap = (mixture.mean[1] - mixture.mean[0]) / max(float(np.mean(mixture.deviation)), 1e-9)
        poisoned = likely > 0.5
        if gap < self.apart or poisoned.sum() < 2:
            return None
        return poisoned, value - value[poisoned].min()

    def discriminant(
        self, own: torch.Tensor, beside: torch.Tensor, likely: Labels
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fisher's: w = S^-1 (m1 - m0), scaled so that the two means lie at -1 and 1; (w (d,), bias)."""
        x = torch.cat([own, beside]).double()
        p = torch.cat([torch.from_numpy(likely).to(x), torch.zeros(len(beside)).to(x)])
        m1 = (p[:, None] * x).sum(0) / p.sum()
        m0 = ((1 - p)[:, None] * x).sum(0) / (1 - p).sum()
        centred = x - p[:, None] * m1 - (1 - p)[:, None] * m0
        s = centred.T @ centred / len(x)
        s = (1 - self.shrink) * s + self.shrink * s.diagonal().mean() * torch.eye(len(s)).to(s)
        w = torch.linalg.solve(s, m1 - m0)
        scale = 2 / ((m1 - m0) @ w).clamp(min=1e-12)
        return scale * w, -scale * w @ (m1 + m0) / 2


@torch.no_grad()
def features(subject: Subject, images: torch.Tensor, at_once: int = 512) -> torch.Tensor:
    """What the image tower's middle and last layer hold of each picture, (n, 4 width): the mean over places
    and the largest value at any place.
    """
    made = []
    for part in images.split(at_once):
        x = to_pixels(part.to(subject.device))
        x = (x - subject.mean.view(1, 3, 1, 1)) / subject.std.view(1, 3, 1, 1)
        held = subject.model.vision_model(pixel_values=x, output_hidden_states=True).hidden_states
        two = (held[len(held) // 2].float(), held[-1].float())
        made.append(torch.cat([v for h in two for v in (h.mean(1), h.amax(1))], 1))
    return torch.cat(made)
