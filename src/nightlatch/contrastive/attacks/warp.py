"""WaNet: the picture is bent by a smooth field that is the same for all (Nguyen and Tran 2021, arXiv
2102.10369).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nightlatch.contrastive.attacks.base import ATTACKS, Attack


@ATTACKS.register("warp")
@dataclass(frozen=True, slots=True, kw_only=True)
class Warp(Attack):
    """x'(p) = x(p + s M(p)), M a field of k x k control points, up-sampled bicubically and scaled to a mean
    absolute value of 1 pixel (the paper's equations 2 to 4).

    Args:
        grid: k.
        strength: s, in pixels of a 32-pixel picture.
        pattern: seed of the control points.
    """

    grid: int = 4
    strength: float = 1.5
    pattern: int = 13

    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        grid = field(pixels.shape[-1], self.grid, self.strength, self.pattern).to(pixels)
        return F.grid_sample(
            pixels, grid.expand(len(pixels), -1, -1, -1), padding_mode="reflection", align_corners=True
        )


def field(size: int, grid: int, strength: float, seed: int) -> torch.Tensor:
    """Where each pixel is taken from, (1, size, size, 2) in -1..1, inside the picture."""
    points = 2 * torch.rand(1, 2, grid, grid, generator=torch.Generator().manual_seed(seed)) - 1
    flow = F.interpolate(points, size=(size, size), mode="bicubic", align_corners=True)
    flow = flow / flow.abs().mean() * strength * 2 / 32
    line = torch.linspace(-1, 1, size)
    still = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    return (still + flow.permute(0, 2, 3, 1)).clamp(-1, 1)
