"""Projected gradients on pictures: the one search that attacks, scans and stress tests share."""

from __future__ import annotations

from collections.abc import Callable

import torch


def ascend(
    pictures: torch.Tensor,
    objective: Callable[[torch.Tensor], torch.Tensor],
    budget: float,
    steps: int,
    step: float = 0.0,
) -> torch.Tensor:
    """Pictures in 0..1 at most ``budget`` away per pixel, moved up ``objective`` by signs of its gradient
    (Madry et al. 2018).

    Args:
        objective: pictures -> one number.
        step: per step; by default 2.5 budget / steps.
    """
    size = step or 2.5 * budget / max(steps, 1)
    x = pictures.clone()
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(objective(x), x)
        x = x.detach() + size * slope.sign()
        x = pictures + (x - pictures).clamp(-budget, budget)
        x = x.clamp(0, 1)
    return x.detach()
