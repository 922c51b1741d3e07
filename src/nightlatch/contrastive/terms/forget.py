"""UBT: similarity of found poison with the caption words that carry the shortcut falls to a floor; weights
stay near.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.subject import to_pixels
from nightlatch.contrastive.terms.base import TERMS, Batch, Term


@TERMS.register("forget")
@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Term):
    """mean_{i in D_k} max(0, I_i.T_W - m) (UBT-style: Liang et al. 2024, arXiv 2403.16257, abstract and
    reviews; the floor m is this project's: plain ascent diverges).

    ``batch.poison`` holds D_k; ``batch.stash`` "words" T_W, (d,) or (|D_k|, d), and "floor" m, a scalar.

    Args:
        at_once: pictures of D_k per step.
    """

    at_once: int = 32

    def loss(self, batch: Batch) -> torch.Tensor:
        assert batch.poison is not None
        images, words = batch.poison.images, batch.stash["words"]
        rows = torch.randint(
            len(images), (min(self.at_once, len(images)),), generator=batch.generator, device=images.device
        )
        toward = words if words.ndim == 1 else words[rows]
        return above_floor(batch.student.image(to_pixels(images[rows])), toward, batch.stash["floor"])


def above_floor(image: torch.Tensor, words: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """Mean excess of the similarity of unit rows (n, d) with ``words`` over ``floor``; 0 below it."""
    return ((image * words).sum(1) - floor).clamp(min=0).mean()


@TERMS.register("keep-weights")
@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWeights(Term):
    """mu ||theta - theta_0||^2 summed over all weights (UBT-style keep term; ``weight`` is mu)."""

    weight: float = 0.1

    def loss(self, batch: Batch) -> torch.Tensor:
        mine, theirs = batch.student.model.parameters(), batch.frozen.model.parameters()
        squares = [(a - b.detach()).pow(2).sum() for a, b in zip(mine, theirs, strict=True)]
        return torch.stack(squares).sum()
