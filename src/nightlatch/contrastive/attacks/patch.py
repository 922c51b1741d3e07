"""BadNets for pairs: a noise patch (Gu et al. 2017; for pairs Carlini and Terzis 2022, and CleanCLIP's own
attack).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from nightlatch.contrastive.attacks.base import ATTACKS, Attack


@ATTACKS.register("patch")
@dataclass(frozen=True, slots=True, kw_only=True)
class Patch(Attack):
    """A square of uniform noise, the same in every picture.

    Args:
        side: of the square, as a share of the picture's (the paper's 16 of 224 would be under two pixels
            here).
        pattern: seed of the noise.
        place_at: "corner" (the lower right one, as BadNets has it) or "anywhere" (as CleanCLIP's code has
            it).
    """

    side: float = 0.16
    pattern: int = 7
    place_at: Literal["corner", "anywhere"] = "corner"

    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        mark = noise(max(2, round(self.side * pixels.shape[-1])), self.pattern).to(pixels)
        corners = places(pixels, mark.shape[-1], generator)
        return paste(
            pixels,
            mark,
            corners
            if self.place_at == "anywhere"
            else torch.full_like(corners, pixels.shape[-1] - mark.shape[-1]),
        )


def noise(side: int, seed: int) -> torch.Tensor:
    """(3, side, side) in 0..1."""
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))


def places(pixels: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """A random top left corner for each picture, (n, 2)."""
    return torch.randint(pixels.shape[-1] - side + 1, (len(pixels), 2), generator=generator)


def paste(pixels: torch.Tensor, mark: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Copies of ``pixels`` (n, 3, h, w) with ``mark`` (3, k, k) at ``corners`` (n, 2)."""
    out, k = pixels.clone(), mark.shape[-1]
    for i, (y, x) in enumerate(corners.tolist()):
        out[i, :, y : y + k, x : x + k] = mark
    return out
