"""The denoisers of feature diffusion: one for vectors, one for maps, both told the timestep and the class."""

from __future__ import annotations

import math

import torch
from torch import nn

N = 200
"""Timesteps of feature diffusion; with beta from 1e-4 to 0.05 less than 1 % of the variance is left at the
last.
"""


def waves(t: torch.Tensor, width: int) -> torch.Tensor:
    """(n, width) sines and cosines of the timesteps (Ho et al. 2020, appendix B)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class Told(nn.Module):
    """Timesteps (n,) and classes (n,) -> (n, width); class number ``classes`` means that none is told."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)

    def forward(self, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.time(waves(t, self.width)) + self.label(labels)
        return out


class VectorDenoiser(nn.Module):
    """Noised features (n, d), timesteps, classes -> the raw output (n, d); residual blocks of two layers."""

    def __init__(self, width: int, classes: int, hidden: int = 256, blocks: int = 3) -> None:
        super().__init__()
        self.told = Told(classes, 64)
        self.first = nn.Linear(width, hidden)
        self.shifts = nn.ModuleList(nn.Linear(64, hidden) for _ in range(blocks))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, hidden)) for _ in range(blocks)
        )
        self.last = nn.Linear(hidden, width)

    def forward(self, z: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        told = self.told(t, labels)
        h = self.first(z)
        for shift, block in zip(self.shifts, self.blocks, strict=True):
            h = h + block(h + shift(told))
        out: torch.Tensor = self.last(h)
        return out


class MapDenoiser(nn.Module):
    """Noised latent maps (n, c, h, w), timesteps, classes -> the raw output: two resolutions, joined by a
    shortcut.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 48) -> None:
        super().__init__()
        self.told = Told(classes, 64)
        self.shift = nn.Linear(64, 2 * hidden)
        self.first = nn.Conv2d(channels, hidden, 3, 1, 1)
        self.down = nn.Sequential(nn.GroupNorm(4, hidden), nn.SiLU(), nn.Conv2d(hidden, hidden, 3, 1, 1))
        self.low = nn.Sequential(nn.GroupNorm(4, hidden), nn.SiLU(), nn.Conv2d(hidden, hidden, 3, 1, 1))
        self.up = nn.Sequential(
            nn.GroupNorm(4, 2 * hidden), nn.SiLU(), nn.Conv2d(2 * hidden, hidden, 3, 1, 1)
        )
        self.last = nn.Conv2d(hidden, channels, 3, 1, 1)

    def forward(self, z: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        high, low = self.shift(self.told(t, labels))[:, :, None, None].chunk(2, 1)
        x = self.first(z) + high
        x = x + self.down(x)
        small = nn.functional.avg_pool2d(x, 2, ceil_mode=True) if min(z.shape[2:]) > 1 else x
        small = small + self.low(small + low)
        big = nn.functional.interpolate(small, z.shape[2:], mode="nearest")
        out: torch.Tensor = self.last(self.up(torch.cat([x, big], 1)))
        return out
