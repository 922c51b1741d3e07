"""In-modal agreement: a picture with another view of itself, a caption with another wording of itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.terms.base import TERMS, Batch, Term, matched


@TERMS.register("in-modal")
@dataclass(frozen=True, slots=True, kw_only=True)
class InModal(Term):
    """1/2 [CE(s I Iaug^T) + CE(s T Taug^T)] (CleanCLIP, Bansal et al. 2023, section 3.2; its code takes one
    direction, as here both are averaged). Independent of which caption a picture has, so that it re-learns
    features that a trigger does not own.
    """

    @property
    def wordings(self) -> tuple[str, ...]:
        return ("reworded",)

    def loss(self, batch: Batch) -> torch.Tensor:
        pictures = matched(batch.image, batch.image_view, batch.scale)
        return (pictures + matched(batch.text, batch.text_view, batch.scale)) / 2
