"""TA-Cleaner-style sub-texts: a caption's core must stay near its picture and its caption, what contradicts
it must not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.terms.base import TERMS, Batch, Term


@TERMS.register("sub-texts")
@dataclass(frozen=True, slots=True, kw_only=True)
class SubTexts(Term):
    """For a part S of the batch with positive t+ and M negative sub-texts t-, all means over S:

    L_it = - log [ e^{s I_i.T_i+} / ( e^{s I_i.T_i+} + sum_m e^{s I_i.T_im-} + sum_{j != i} e^{s I_i.T_j+} ) ]
    L_tt = - log [ e^{s T_i.T_i+} / ( e^{s T_i.T_i+} + sum_m e^{s T_i.T_im-} ) ]

    "TA-Cleaner-style" (Xun et al. 2024, arXiv 2409.17601, of which the abstract and reviews were readable, no
    code): the equations and the numbers below are this project's reading.

    Args:
        share: |S| as a share of the batch.
        negatives: M.
    """

    share: float = 0.25
    negatives: int = 2

    @property
    def wordings(self) -> tuple[str, ...]:
        return ("positive", "negative")

    def loss(self, batch: Batch) -> torch.Tensor:
        k = max(1, round(self.share * len(batch.rows)))
        rows, s = batch.rows[:k], batch.scale
        plus = batch.student.text(batch.texts.pick("positive", rows, batch.generator))
        drawn = [batch.texts.pick("negative", rows, batch.generator) for _ in range(self.negatives)]
        minus = batch.student.text(torch.cat(drawn)).view(self.negatives, k, -1)
        return toward(batch.image[:k], plus, minus, s) + toward(batch.text[:k], plus, minus, s, others=False)


def toward(
    x: torch.Tensor, plus: torch.Tensor, minus: torch.Tensor, s: torch.Tensor, others: bool = True
) -> torch.Tensor:
    """Cross entropy of each of ``x`` (k, d) with its own ``plus`` (k, d) against its ``minus`` (M, k, d) and,
    with ``others``, the other items' ``plus``."""
    near, far = s * x @ plus.T, s * torch.einsum("kd,mkd->km", x, minus)
    own = near.diagonal()
    logits = torch.cat([near, far], 1) if others else torch.cat([own[:, None], far], 1)
    return (logits.logsumexp(1) - own).mean()
