"""Ordinary pictures for when nobody gives any: smooth colours with a few shapes, drawn from a seed."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def drawn(n: int, size: int, seed: int) -> torch.Tensor:
    """(n, 3, size, size) uint8: a smooth random field of colour under three filled rectangles or discs."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.rand(n, 3, 4, 4, generator=generator)
    x = F.interpolate(field, size=(size, size), mode="bicubic", align_corners=True)
    line = (torch.arange(size) + 0.5) / size
    for _ in range(3):
        u = torch.rand(n, 8, 1, 1, generator=generator)
        down, across, r = line[None, :, None] - u[:, 0], line[None, None] - u[:, 1], 0.08 + 0.2 * u[:, 2]
        disc = down.pow(2) + across.pow(2) < r.pow(2)
        box = (down.abs() < r) & (across.abs() < r * (0.3 + u[:, 3]))
        inside = torch.where(u[:, 4] < 0.5, disc, box)[:, None]
        x = torch.where(inside, u[:, 5:8], x)
    return x.clamp(0, 1).mul(255).round().to(torch.uint8)
