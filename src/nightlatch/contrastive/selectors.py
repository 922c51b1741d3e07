"""SafeCLIP: which pairs are trusted is told by a mixture of two Gaussians over their similarities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.trainer import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Two Gaussians: weights, means and deviations, lower mean first."""

    weight: tuple[float, float]
    mean: tuple[float, float]
    deviation: tuple[float, float]

    def high(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Posterior of the component with the higher mean, shape of ``x``."""
        logs = np.stack([
            math.log(w) - math.log(s) - 0.5 * ((x - m) / s) ** 2
            for w, m, s in zip(self.weight, self.mean, self.deviation, strict=True)
        ])  # fmt: skip
        posterior: npt.NDArray[np.float64] = 1 / (1 + np.exp(np.clip(logs[0] - logs[1], -500, 500)))
        return posterior


def fit(x: npt.NDArray[np.float64], rounds: int = 100) -> Mixture:
    """Expectation-maximisation on one-dimensional values (Dempster et al. 1977), started from the lower and
    the upper half.
    """
    low, high = np.array_split(np.sort(x), 2)
    weight, mean = np.array([0.5, 0.5]), np.array([low.mean(), high.mean()])
    least = 1e-3 * float(x.std()) + 1e-9
    deviation = np.array([low.std() + least, high.std() + least])
    for _ in range(rounds):
        logs = np.log(weight) - np.log(deviation) - 0.5 * ((x[:, None] - mean) / deviation) ** 2
        share = np.exp(logs - logs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        total = share.sum(0) + 1e-12
        weight, mean = total / total.sum(), (share * x[:, None]).sum(0) / total
        deviation = np.sqrt((share * (x[:, None] - mean) ** 2).sum(0) / total) + least
    first, second = np.argsort(mean)
    return Mixture(
        weight=(float(weight[first]), float(weight[second])),
        mean=(float(mean[first]), float(mean[second])),
        deviation=(float(deviation[first]), float(deviation[second])),
    )


def similarities(subject: Subject, pairs: Pairs) -> npt.NDArray[np.float64]:
    """I_i.T_i of every pair, (n,)."""
    cosine = (subject.embed_images(pairs.images) * subject.embed_texts(pairs.captions)).sum(1)
    values: npt.NDArray[np.float64] = cosine.cpu().numpy().astype(np.float64)
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeShare(Selector):
    """Trusted are pairs of the high component, then a share that grows (SafeCLIP, Yang et al. 2024, section
    5).

    Args:
        sure: posterior above which a pair is trusted in the first epoch.
        grow: by how much the share grows with each epoch.
        most: largest share.
    """

    sure: float = 0.9
    grow: float = 0.01
    most: float = 0.85

    def safe(self, student: Subject, pairs: Pairs, epoch: int) -> torch.Tensor:
        x = similarities(student, pairs)
        posterior = fit(x).high(x)
        share = min(self.most, float((posterior > self.sure).mean()) + self.grow * epoch)
        chosen = np.zeros(len(x), dtype=bool)
        chosen[np.lexsort((-x, -posterior))[: round(share * len(x))]] = True
        return torch.from_numpy(chosen)
