"""Blended: the whole picture is mixed with one noise picture (Chen et al. 2017, arXiv 1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.attacks.base import ATTACKS, Attack
from nightlatch.contrastive.attacks.patch import noise


@ATTACKS.register("blended")
@dataclass(frozen=True, slots=True, kw_only=True)
class Blended(Attack):
    """x' = (1 - a) x + a r with r uniform noise.

    Args:
        strength: a; the paper's 0.2.
        pattern: seed of r.
    """

    strength: float = 0.2
    pattern: int = 11

    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return (1 - self.strength) * pixels + self.strength * noise(pixels.shape[-1], self.pattern).to(pixels)
