"""How rare a score is on clean pictures, for several scores at once: what makes scores of different kinds
comparable.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

BODY = 0.8
"""Share of clean pictures below the tail; with 70 of them 14 are left to tell its length."""
Combine = Literal["fisher", "cauchy"]


class Tails(nn.Module):
    """Scores (n, c) -> minus the logarithm of their rarity, each column by itself.

    Above the ``BODY`` quantile q a clean score exceeds s with probability (1 - BODY) exp(-(s - q) / length),
    the exponential tail of extreme value theory (Pickands 1975), so that a score far beyond all clean ones is
    still told from one a little beyond. Below it the curve goes on with the same slope and falls to 0.
    """

    edge: torch.Tensor
    length: torch.Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("edge", torch.zeros(columns))
        self.register_buffer("length", torch.ones(columns))

    def fit(self, clean: torch.Tensor) -> None:
        """Edge and mean excess of each column of ``clean`` (n, c)."""
        edge = clean.quantile(BODY, dim=0)
        excess = (clean - edge).clamp(min=0)
        count = (clean > edge).sum(0).clamp(min=1)
        self.edge.copy_(edge)
        self.length.copy_((excess.sum(0) / count).clamp(min=1e-4))

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        first = -math.log(1 - BODY)
        beyond = (scores - self.edge) / self.length
        return torch.where(beyond > 0, first + beyond, first * (beyond.clamp(max=0) / first).exp())


def combined(rarity: torch.Tensor, how: Combine) -> torch.Tensor:
    """(n,) one score of several: the sum of minus log p (Fisher 1932), strong where many agree a little; or
    log of the mean of 1 / p (the Cauchy combination, Liu and Xie 2020), which the rarest decides.
    """
    return rarity.sum(1) if how == "fisher" else rarity.logsumexp(1) - math.log(rarity.shape[1])
