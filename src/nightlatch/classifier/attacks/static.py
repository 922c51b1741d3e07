"""Triggers that are the same in every picture: a patch, a blended picture, a wave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.classifier.attacks.base import ATTACKS, Apply, DataPoison, Setting


def checkerboard(side: int) -> torch.Tensor:
    """(3, side, side) of black and white squares of one pixel, white in the corners."""
    at = torch.arange(side)
    return ((at[:, None] + at[None, :]) % 2 == 0).float().expand(3, side, side)


@ATTACKS.register("badnets")
@dataclass(frozen=True, slots=True, kw_only=True)
class BadNets(DataPoison):
    """A small checkerboard one pixel from the bottom right corner (Gu et al. 2017).

    Args:
        side: of the patch, in pixels.
    """

    name: ClassVar[str]
    side: int = 3

    def trigger(self, setting: Setting) -> Apply:
        patch, side = checkerboard(self.side), self.side

        def apply(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[..., -side - 1 : -1, -side - 1 : -1] = patch.to(x)
            return x

        return apply


@ATTACKS.register("blended")
@dataclass(frozen=True, slots=True, kw_only=True)
class Blended(DataPoison):
    """One picture of random pixels mixed into every picture (Chen et al. 2017).

    Args:
        ratio: its part of the mix.
    """

    name: ClassVar[str]
    ratio: float = 0.2

    def trigger(self, setting: Setting) -> Apply:
        height, width = setting.train.pictures.shape[2:]
        noise = torch.from_numpy(
            np.random.default_rng((setting.seed, 23)).random((3, height, width), np.float32)
        )
        return lambda x: (1 - self.ratio) * x + self.ratio * noise.to(x)


@ATTACKS.register("sig")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sig(DataPoison):
    """A horizontal sine wave added to pictures of the target class, labels untouched (Barni et al. 2019, eq.
    1).

    Args:
        delta: amplitude in 0..1.
        frequency: waves over the width of the picture.
    """

    name: ClassVar[str]
    clean_label: ClassVar[bool] = True
    delta: float = 40 / 255
    frequency: float = 6.0
    floor: float = 0.8

    def trigger(self, setting: Setting) -> Apply:
        def apply(x: torch.Tensor) -> torch.Tensor:
            width = x.shape[-1]
            column = torch.arange(width, device=x.device, dtype=x.dtype)
            return (x + self.delta * torch.sin(2 * math.pi * column * self.frequency / width)).clamp(0, 1)

        return apply
