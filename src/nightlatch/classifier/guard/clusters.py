"""Rivals that judge pictures of one label together: made for data sets, where the label is that of the
set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape
from nightlatch.classifier.guard.features import Taps, features

FEWEST = 10
"""Pictures of a label below which nothing can be said about its clusters."""


class Grouped(Scorer):
    """Nothing is learned; every label's pictures are judged among themselves."""

    def __init__(self, settings: Clustered | Spectral) -> None:
        super().__init__()
        self.settings = settings

    def score(self, batch: Batch) -> torch.Tensor:
        z, out = features(batch, self.settings.taps), torch.zeros(len(batch), device=batch.pictures.device)
        for label in batch.labels.unique().tolist():
            rows = (batch.labels == label).nonzero().flatten()
            if len(rows) >= FEWEST:
                out[rows] = self.settings.group(z[rows]).to(out)
        return out


@DETECTORS.register("activation-clustering")
@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered(Detector):
    """Two clusters of every label's features; how much nearer a picture is to the smaller one, the more the
    smaller that is (Chen et al. 2019).

    Args:
        kept: principal components that are clustered.
    """

    name: ClassVar[str]
    whole_set: ClassVar[bool] = True
    taps: Taps = "head"
    kept: int = 10

    def empty(self, shape: Shape) -> Grouped:
        return Grouped(self)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        """Nothing to learn."""

    def group(self, z: torch.Tensor) -> torch.Tensor:
        x = principal(z, self.kept)
        centres = two_means(x)
        apart = torch.cdist(x, centres)
        second = apart.argmin(1)
        small = int((second == 1).float().mean() < 0.5)
        share = (second == small).float().mean()
        closer = (apart[:, 1 - small] - apart[:, small]) / (centres[0] - centres[1]).norm().clamp(min=1e-6)
        near: torch.Tensor = closer + (0.5 - share) * 2 * (second == small)
        return near


@DETECTORS.register("spectral-signatures")
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectral(Detector):
    """Squared projection of a label's centred features on their first singular vector (Tran et al. 2018,
    algorithm 1).
    """

    name: ClassVar[str]
    whole_set: ClassVar[bool] = True
    taps: Taps = "head"

    def empty(self, shape: Shape) -> Grouped:
        return Grouped(self)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        """Nothing to learn."""

    def group(self, z: torch.Tensor) -> torch.Tensor:
        first = principal(z, 1)
        return first[:, 0].pow(2) / first.pow(2).mean().clamp(min=1e-9)


def principal(z: torch.Tensor, kept: int) -> torch.Tensor:
    """(n, kept) coordinates of centred ``z`` along its principal axes."""
    x = z - z.mean(0)
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    turned: torch.Tensor = x @ axes[:kept].T
    return turned


def two_means(x: torch.Tensor, rounds: int = 30) -> torch.Tensor:
    """(2, d) centres of two clusters (Lloyd), started from the two ends of the first coordinate."""
    order = x[:, 0].argsort()
    half = max(1, len(x) // 4)
    centres = torch.stack([x[order[:half]].mean(0), x[order[-half:]].mean(0)])
    for _ in range(rounds):
        nearest = torch.cdist(x, centres).argmin(1)
        centres = torch.stack(
            [x[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in (0, 1)]
        )
    return centres
