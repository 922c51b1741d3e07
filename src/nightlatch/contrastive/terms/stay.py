"""Embeddings of honest pairs stay where the suspect had them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.terms.base import TERMS, Batch, Term


@TERMS.register("stay")
@dataclass(frozen=True, slots=True, kw_only=True)
class Stay(Term):
    """1/2 mean_i ( ||I_i - I0_i||^2 + ||T_i - T0_i||^2 ): self-distillation on what is clean (the same rule
    as for the text-to-image repair, where the student follows the frozen model on ordinary prompts)."""

    def loss(self, batch: Batch) -> torch.Tensor:
        image = (batch.image - batch.image_before).pow(2).sum(1).mean()
        return (image + (batch.text - batch.text_before).pow(2).sum(1).mean()) / 2
