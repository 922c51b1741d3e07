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
    """Timesteps (n,) and classes (n, ...) -> (n, ..., width)."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes, width)

    def forward(self, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        when: torch.Tensor = self.time(waves(t, self.width))
        which: torch.Tensor = self.label(labels)
        return when.view(len(when), *[1] * (which.ndim - 2), -1) + which


class Grouped(nn.Module):
    """A linear layer of its own for each of ``groups`` places: (groups, n, inner) -> (groups, n, outer)."""

    def __init__(self, groups: int, inner: int, outer: int) -> None:
        super().__init__()
        bound = inner**-0.5
        self.weight = nn.Parameter(torch.empty(groups, inner, outer).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(groups, 1, outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class VectorDenoiser(nn.Module):
    """Noised features (n, places, d), timesteps (n,), classes (n, places) -> the raw output (n, places, d);
    every place has a network of its own, of residual blocks, and all are computed at once.
    """

    def __init__(self, places: int, width: int, classes: int, hidden: int = 192, blocks: int = 2) -> None:
        super().__init__()
        self.told = Told(classes, 64)
        self.first = Grouped(places, width, hidden)
        self.shifts = nn.ModuleList(Grouped(places, 64, hidden) for _ in range(blocks))
        self.blocks = nn.ModuleList(Grouped(places, hidden, hidden) for _ in range(blocks))
        self.last = Grouped(places, hidden, width)

    def forward(self, z: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        told = self.told(t, labels).transpose(0, 1)
        h = self.first(z.transpose(0, 1))
        for shift, block in zip(self.shifts, self.blocks, strict=True):
            inner = nn.functional.layer_norm(h + shift(told), h.shape[-1:])
            h = h + block(nn.functional.silu(inner))
        out: torch.Tensor = self.last(h).transpose(0, 1)
        return out


class MapDenoiser(nn.Module):
    """Noised latent maps (n, c, h, w), timesteps, classes -> the raw output: two resolutions, joined by a
    shortcut.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 32) -> None:
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
