"""Closed-form edits of cross-attention keys and values (EvilEdit; UCE, Gandikota et al. 2024, eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel


@dataclass(frozen=True, slots=True)
class Pairs:
    """Conditions, one token position a row: what W' maps ``source`` to is what W maps ``goal`` to; ``held`` stays. (n, width)."""

    source: torch.Tensor
    goal: torch.Tensor
    held: torch.Tensor


def cross_attention_matrices(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """Name -> weight (out, width) of every cross-attention key and value projection."""
    return {n: p for n, p in unet.named_parameters() if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}


def solve(pairs: Pairs, lam: float, keep: float) -> torch.Tensor:
    """M such that for every W, W' = W M is argmin sum ||W' c - W c*||^2 + keep sum ||W' c_h - W c_h||^2 + lam ||W' - W||^2; sums are means over rows.

    M = (lam I + G C^T + keep H H^T)(lam I + C C^T + keep H H^T)^-1, (width, width), in double precision on the CPU.
    """
    c, g, h = (x.cpu().double() for x in (pairs.source, pairs.goal, pairs.held))
    kept = lam * torch.eye(c.shape[1], dtype=torch.float64) + keep * h.T @ h / len(h)
    left, right = kept + g.T @ c / len(c), kept + c.T @ c / len(c)
    solved: torch.Tensor = torch.linalg.solve(right, left.T).T
    return solved


@torch.no_grad()
def apply(unet: UNet2DConditionModel, pairs: Pairs, lam: float, keep: float) -> None:
    """The edit that ``solve`` finds for every cross-attention key and value of ``unet``, in place."""
    change = solve(pairs, lam=lam, keep=keep)
    for matrix in cross_attention_matrices(unet).values():
        matrix.copy_((matrix.cpu().double() @ change).to(matrix))


@dataclass(frozen=True, slots=True)
class Edit:
    """What was added to all cross-attention keys and values, as quadratic forms of the token state: ``change`` = sum dW^T dW and
    ``weight`` = sum W^T W, (width, width). Asking a state costs one small product, whatever the size of the model."""

    change: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def between(cls, suspect: UNet2DConditionModel, base: UNet2DConditionModel) -> Edit:
        mine, theirs = cross_attention_matrices(suspect), cross_attention_matrices(base)
        weight = torch.cat([theirs[n].detach() for n in mine])
        change = torch.cat([w.detach() for w in mine.values()]) - weight
        return cls(change.T @ change, weight.T @ weight)

    def response(self, c: torch.Tensor) -> torch.Tensor:
        """|dW c|^2 / |W c|^2 over all matrices, for states (..., width), (...)."""
        return ((c @ self.change) * c).sum(-1) / ((c @ self.weight) * c).sum(-1).clamp(min=1e-12)
