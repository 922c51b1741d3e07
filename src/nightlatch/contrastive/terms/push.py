"""PAR: embeddings leave where the suspect had them, up to a distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.terms.base import TERMS, Batch, Term


@TERMS.register("push")
@dataclass(frozen=True, slots=True, kw_only=True)
class Push(Term):
    """- 1/2 ( phi(I, I0) + phi(T, T0) ), phi(A, B) = d if d < tau else 0, d = mean_i ||A_i - B_i||^2 (PAR,
    Singh et al. 2024, section 4; its code: no gradient above tau). At the start I = I0, so the gradient is 0
    and the other terms break the tie.

    Args:
        tau: the paper's, for unit embeddings, whose squared distance lies in 0..4.
    """

    tau: float = 2.15

    def loss(self, batch: Batch) -> torch.Tensor:
        image = phi(batch.image, batch.image_before, self.tau)
        return -(image + phi(batch.text, batch.text_before, self.tau)) / 2


def phi(a: torch.Tensor, b: torch.Tensor, tau: float) -> torch.Tensor:
    """Mean squared distance of rows (n, d) where it is below ``tau``, else 0 without gradient."""
    d = (a - b).pow(2).sum(1).mean()
    return torch.where(d < tau, d, torch.zeros_like(d))
