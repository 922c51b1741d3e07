"""Rivals on the same features: distance to neighbours, to the class's centre, and to what an autoencoder
gives back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape
from nightlatch.classifier.guard.features import FLOOR, Taps, enlarged, features
from nightlatch.diffusion import training


class Neighbours(Scorer):
    """The standardised clean features."""

    mean: torch.Tensor
    std: torch.Tensor
    known: torch.Tensor

    def __init__(self, settings: KNN, shape: Shape) -> None:
        super().__init__()
        self.settings, width = settings, shape.width(settings.taps)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("known", torch.zeros(shape.clean, width))

    def score(self, batch: Batch) -> torch.Tensor:
        z = (features(batch, self.settings.taps) - self.mean) / self.std
        k = min(self.settings.k, len(self.known))
        return torch.cdist(z, self.known).topk(k, largest=False).values[:, -1]


@DETECTORS.register("knn")
@dataclass(frozen=True, slots=True, kw_only=True)
class KNN(Detector):
    """Distance to the ``k``-th nearest clean feature (Sun et al. 2022)."""

    name: ClassVar[str]
    taps: Taps = "stages"
    k: int = 5

    def empty(self, shape: Shape) -> Neighbours:
        return Neighbours(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, Neighbours)
        z = features(clean, self.taps)
        scorer.mean.copy_(z.mean(0))
        scorer.std.copy_(z.std(0).clamp(min=FLOOR))
        scorer.known.copy_((z - scorer.mean) / scorer.std)


class Centres(Scorer):
    """A centre for every class, and the precision that they share."""

    centres: torch.Tensor
    precision: torch.Tensor

    def __init__(self, settings: Mahalanobis, shape: Shape) -> None:
        super().__init__()
        self.settings, width = settings, shape.width(settings.taps)
        self.register_buffer("centres", torch.zeros(shape.classes, width))
        self.register_buffer("precision", torch.eye(width))

    def score(self, batch: Batch) -> torch.Tensor:
        apart = features(batch, self.settings.taps) - self.centres[batch.labels]
        return (apart @ self.precision * apart).sum(1).clamp(min=0).sqrt()


@DETECTORS.register("mahalanobis")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mahalanobis(Detector):
    """Distance to the centre of the predicted class in the covariance within classes (Lee et al. 2018, eq.
    2).

    Args:
        shrink: part of the covariance that is replaced by its diagonal; few pictures give no full one (Ledoit
            and Wolf 2004).
        copies: slightly changed copies of the clean pictures, as the diffusion model learns from.
    """

    name: ClassVar[str]
    taps: Taps = "stages"
    shrink: float = 0.1
    copies: int = 7

    def empty(self, shape: Shape) -> Centres:
        return Centres(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, Centres)
        known = enlarged(clean, self.copies)
        z, labels = features(known, self.taps), known.labels
        scorer.centres.copy_(z.mean(0).expand_as(scorer.centres))
        for k in labels.unique().tolist():
            scorer.centres[k] = z[labels == k].mean(0)
        apart = (z - scorer.centres[labels]).double()
        spread = apart.T @ apart / len(z)
        own = spread.diagonal().clamp(min=FLOOR**2)
        spread = (1 - self.shrink) * spread + self.shrink * own.diag()
        scorer.precision.copy_(torch.linalg.inv(spread).float())


class Narrow(Scorer):
    """Standardised features through a narrow middle and back."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: Autoencoder, shape: Shape) -> None:
        super().__init__()
        self.settings, width = settings, shape.width(settings.taps)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.net = nn.Sequential(
            nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, settings.middle),
            nn.Linear(settings.middle, 256), nn.SiLU(),
            nn.Linear(256, width),
        )  # fmt: skip

    def score(self, batch: Batch) -> torch.Tensor:
        z = (features(batch, self.settings.taps) - self.mean) / self.std
        apart: torch.Tensor = (self.net(z) - z).pow(2).mean(1)
        return apart


@DETECTORS.register("autoencoder")
@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder(Detector):
    """How badly a feature is given back by a network that has learned clean ones (Sakurada and Yairi
    2014).
    """

    name: ClassVar[str]
    taps: Taps = "stages"
    middle: int = 32
    train: int = 2000
    batch: int = 256
    copies: int = 7

    def empty(self, shape: Shape) -> Narrow:
        return Narrow(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, Narrow)
        z = features(enlarged(clean, self.copies), self.taps)
        scorer.mean.copy_(z.mean(0))
        scorer.std.copy_(z.std(0).clamp(min=FLOOR))
        x = (z - scorer.mean) / scorer.std

        def loss(_: int) -> torch.Tensor:
            rows = x[torch.randint(len(x), (self.batch,), device=x.device)]
            value: torch.Tensor = (scorer.net(rows) - rows).pow(2).mean()
            return value

        for _ in training.train(scorer.net, loss, self.train, 1e-3):
            pass
