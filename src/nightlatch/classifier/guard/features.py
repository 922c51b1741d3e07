"""Features as numbers of like size: standardised, turned to the axes of clean pictures, cut to the first of
them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from nightlatch.classifier import augment
from nightlatch.classifier.guard.base import Batch
from nightlatch.classifier.subject import Seen, as_float

Taps = Literal["head", "stages"]
MOST = 8000
"""Copies in all, from which on clean pictures are not copied."""
PRIOR = 0.5
"""Pictures that the mean of all classes counts for in a class's centre; few clean pictures show few of a
class.
"""
FLOOR = 1e-3
"""Least standard deviation that a feature is divided by."""


def features(batch: Batch, taps: Taps) -> torch.Tensor:
    """(n, d): the last layer's input, or the means of every feature map beside it."""
    return batch.seen.vector.float() if taps == "head" else batch.seen.stages()


def enlarged(clean: Batch, copies: int) -> Batch:
    """``clean`` with up to ``copies`` of every picture, slightly shifted, mirrored and recoloured, so that few
    pictures show more of how features vary; many do so themselves.
    """
    parts = [clean]
    for _ in range(min(copies, MOST // max(len(clean), 1))):
        x = augment.colour(augment.usual(as_float(clean.pictures), 2, True), 0.1)
        made = Batch.of(clean.subject, (x * 255).round().to(torch.uint8))
        keep = made.labels == clean.labels
        parts.append(made.at(keep))
    first = parts[0]
    seen = type(first.seen).joined([p.seen for p in parts])
    return Batch(
        first.subject, torch.cat([p.pictures for p in parts]), seen, torch.cat([p.labels for p in parts])
    )


class Whitening(nn.Module):
    """z -> the first ``kept`` principal coordinates of standardised z, each divided by its clean spread, and
    one more: how much of z they leave out.

    Args:
        width: of z.
        kept: coordinates; all of unit variance on the clean features that it was fitted to.
    """

    mean: torch.Tensor
    std: torch.Tensor
    basis: torch.Tensor
    rest: torch.Tensor

    def __init__(self, width: int, kept: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("basis", torch.zeros(width, kept))
        self.register_buffer("rest", torch.tensor([0.0, 1.0]))

    @property
    def out(self) -> int:
        return self.basis.shape[1] + 1

    def fit(self, z: torch.Tensor) -> None:
        self.mean.copy_(z.mean(0))
        self.std.copy_(z.std(0).clamp(min=FLOOR))
        x = (z - self.mean) / self.std
        _, sizes, axes = torch.linalg.svd(x, full_matrices=False)
        kept = min(self.basis.shape[1], len(axes))
        spread = (sizes[:kept] / max(len(z) - 1, 1) ** 0.5).clamp(min=FLOOR)
        self.basis.zero_()
        self.basis[:, :kept] = axes[:kept].T / spread
        left = self._left(x)
        self.rest.copy_(torch.stack([left.mean(), left.std().clamp(min=FLOOR)]))

    def _left(self, x: torch.Tensor) -> torch.Tensor:
        """(n,) logarithm of the squared length that the basis leaves out."""
        lengths = self.basis.pow(2).sum(0).clamp(min=1e-12)
        inside = ((x @ self.basis).pow(2) / lengths).sum(1)
        return (x.pow(2).sum(1) - inside).clamp(min=1e-6).log()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = (z - self.mean) / self.std
        left = (self._left(x) - self.rest[0]) / self.rest[1]
        return torch.cat([x @ self.basis, left[:, None]], 1)


class ClassWhitening(nn.Module):
    """Features as the classifier's word says them: what is left of z once the centre of its class is taken
    off, turned to axes in which clean pictures of one class vary by one.

    In these coordinates a squared length is a Mahalanobis distance to the class's centre.

    Args:
        width: of z.
        kept: coordinates.
        classes: number of classes.
    """

    centres: torch.Tensor
    known: torch.Tensor

    def __init__(self, width: int, kept: int, classes: int) -> None:
        super().__init__()
        self.inner = Whitening(width, kept)
        self.register_buffer("centres", torch.zeros(classes, width))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))

    @property
    def out(self) -> int:
        return self.inner.out

    def fit(self, z: torch.Tensor, labels: torch.Tensor, copies: int = 1) -> None:
        """``copies`` rows of ``z`` (n, d) come from each picture."""
        self.centres.copy_(z.mean(0).expand_as(self.centres))
        self.known.fill_(False)
        for k in labels.unique().tolist():
            own = z[labels == k]
            weight = len(own) / (len(own) + PRIOR * copies)
            self.centres[k] = weight * own.mean(0) + (1 - weight) * self.centres[k]
            self.known[k] = True
        self.inner.fit(z - self.centres[labels])

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.inner(z - self.centres[labels])
        return made

    def runner_up(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(n,) the nearest class other than ``labels``, of those that clean pictures showed."""
        to, std = self.inner.basis, self.inner.std
        apart = torch.cdist((z / std) @ to, (self.centres / std) @ to)
        apart = apart.masked_fill(~self.known, float("inf"))
        apart.scatter_(1, labels[:, None], float("inf"))
        return apart.argmin(1)


def places(seen: Seen) -> list[torch.Tensor]:
    """The feature vectors of a picture: mean and spread over the positions of each map, what goes into the
    last layer, and all means together with it.
    """
    maps = [torch.cat([m.mean((2, 3)), m.flatten(2).std(2, correction=0)], 1) for m in seen.maps]
    return [*(m.float() for m in maps), seen.vector.float(), seen.stages()]
