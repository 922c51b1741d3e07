"""Image-text contrast: CLIP's loss, and SigLIP's for models that were trained by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nightlatch.contrastive.terms.base import TERMS, Batch, Term, matched


@TERMS.register("image-text")
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageText(Term):
    """Lclip = 1/2 [CE(s I T^T) + CE(s T I^T)] (Radford et al. 2021, figure 3), over the pairs that the
    selector trusts; for SigLIP -1/n sum_ij log sigmoid(y_ij (s I_i.T_j + b)), y = 1 on the diagonal and -1
    off it (Zhai et al. 2023, equation 1).

    Pairs of one batch with equal captions are each other's positives, since a caption cannot be told from
    itself.

    Args:
        views: whether the pair is shown as another view and another wording (RoCLIP and SafeCLIP train so).
    """

    views: bool = False

    @property
    def wordings(self) -> tuple[str, ...]:
        return ("reworded",) if self.views else ()

    def loss(self, batch: Batch) -> torch.Tensor:
        i, t = (batch.image_view, batch.text_view) if self.views else (batch.image, batch.text)
        same = batch.same
        if batch.partial:
            i, t, same = i[batch.safe], t[batch.safe], same[batch.safe][:, batch.safe]
            if not len(i):
                return batch.image.sum() * 0
        return (
            pairwise(i, t, batch, same)
            if batch.student.kind == "siglip"
            else matched(i, t, batch.scale, same)
        )


def pairwise(i: torch.Tensor, t: torch.Tensor, batch: Batch, same: torch.Tensor) -> torch.Tensor:
    """SigLIP's loss of unit rows (n, d); y = 1 where captions are the same, (n, n) bool."""
    y = 2 * same.float() - 1
    return -F.logsigmoid(y * (batch.scale * i @ t.T + batch.student.bias)).sum() / len(i)
