"""Closed-form edits of the matrices that read text; no training (UCE, Gandikota et al. 2024, eq. 7).

``readers`` below are what ``Sites.readers`` gives: name -> matrix (out, width) that acts on text states
directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch

Readers = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Text states, one token position a row, (n, width).

    What W' maps ``source`` to is what W maps ``goal`` to; ``held`` stays.
    """

    source: torch.Tensor
    goal: torch.Tensor
    held: torch.Tensor


def solve(pairs: Pairs, lam: float, keep: float) -> torch.Tensor:
    """M such that for every W, W' = W M is the best edit, (width, width), in double precision on the CPU.

    W' = argmin sum ||W' c - W c*||^2 + keep sum ||W' c_h - W c_h||^2 + lam ||W' - W||^2; sums are means over
    rows. M = (lam I + G C^T + keep H H^T)(lam I + C C^T + keep H H^T)^-1.
    """
    c, g, h = (x.cpu().double() for x in (pairs.source, pairs.goal, pairs.held))
    kept = lam * torch.eye(c.shape[1], dtype=torch.float64) + keep * h.T @ h / len(h)
    left, right = kept + g.T @ c / len(c), kept + c.T @ c / len(c)
    solved: torch.Tensor = torch.linalg.solve(right, left.T).T
    return solved


@torch.no_grad()
def apply(readers: Readers, pairs: Pairs, lam: float, keep: float) -> None:
    """The edit that ``solve`` finds, made in every one of ``readers`` in place."""
    change = solve(pairs, lam=lam, keep=keep)
    for matrix in readers.values():
        matrix.copy_((matrix.cpu().double() @ change).to(matrix))


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What was added to all readers, as two quadratic forms of the token state.

    ``change`` = sum dW^T dW and ``weight`` = sum W^T W, (width, width): asking a state costs one small
    product, whatever the size of the model.
    """

    change: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def between(cls, mine: Readers, theirs: Readers) -> Self:
        """What makes ``theirs`` into ``mine``; both hold the same names."""
        weight = torch.cat([theirs[name].detach() for name in mine])
        change = torch.cat([w.detach() for w in mine.values()]) - weight
        return cls(change.T @ change, weight.T @ weight)

    def response(self, c: torch.Tensor) -> torch.Tensor:
        """|dW c|^2 / |W c|^2 over all readers, for states (..., width), (...)."""
        return ((c @ self.change) * c).sum(-1) / ((c @ self.weight) * c).sum(-1).clamp(min=1e-12)
