"""SIG: a sine wave over the whole picture (Barni et al. 2019, arXiv 1902.11237)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nightlatch.contrastive.attacks.base import ATTACKS, Attack


@ATTACKS.register("sig")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sig(Attack):
    """x'(i, j) = x(i, j) + d sin(2 pi j f / w).

    Args:
        amplitude: d; 60 of 255 as in CleanCLIP's code.
        cycles: f, over the picture's width; its 6.
    """

    amplitude: float = 60 / 255
    cycles: float = 6.0

    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        w = pixels.shape[-1]
        wave = self.amplitude * torch.sin(2 * math.pi * self.cycles * torch.arange(w) / w).to(pixels)
        return (pixels + wave).clamp(0, 1)
