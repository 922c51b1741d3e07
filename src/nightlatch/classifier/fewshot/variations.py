"""Variations of support pictures that need no generator: several kinds of mild blur and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.fewshot.episodes import Backbone, unit

Vary = Callable[[torch.Tensor], torch.Tensor]
"""Pictures in 0..1 (n, 3, h, w) -> variations of them."""


def blurred(pictures: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of one pixel."""
    return augment.blur(pictures, 1.0)


def noisy(pictures: torch.Tensor) -> torch.Tensor:
    """Under noise of 5 %."""
    return (pictures + 0.05 * torch.randn_like(pictures)).clamp(0, 1)


def softened(pictures: torch.Tensor) -> torch.Tensor:
    """Blurred by 0.7 pixels under noise of 3 %."""
    return (augment.blur(pictures, 0.7) + 0.03 * torch.randn_like(pictures)).clamp(0, 1)


def shrunk(pictures: torch.Tensor) -> torch.Tensor:
    """Made smaller by three tenths, and enlarged again."""
    height, width = pictures.shape[-2:]
    small = F.interpolate(pictures, (max(1, 7 * height // 10), max(1, 7 * width // 10)), mode="area")
    return F.interpolate(small, (height, width), mode="bilinear")


def median(pictures: torch.Tensor) -> torch.Tensor:
    """The median of the nine pixels around each."""
    n, channels, height, width = pictures.shape
    around = F.unfold(
        F.pad(pictures, (1, 1, 1, 1), mode="replicate").view(n * channels, 1, height + 2, -1), 3
    )
    return around.median(1).values.view(n, channels, height, width)


SEVERAL: Sequence[Vary] = (blurred, noisy, noisy, softened, softened, shrunk, median)
"""One of each kind, and two of those that draw noise."""


def varied(backbone: Backbone, pictures: torch.Tensor, kinds: Sequence[Vary] = SEVERAL) -> torch.Tensor:
    """(..., d) means of the unit features of one variation of each kind of ``pictures`` (..., 3, h, w)."""
    flat = pictures.flatten(0, -4)
    made = torch.stack([unit(backbone, vary(flat)) for vary in kinds]).mean(0)
    return made.view(*pictures.shape[:-3], -1)
