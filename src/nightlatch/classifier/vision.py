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
    falling: bool = False,
) -> torch.Tensor:
    """Pictures in 0..1 at most ``budget`` away per pixel, moved up ``objective`` by signs of its gradient
    (Madry et al. 2018).

    Args:
        objective: pictures -> one number.
        step: per step; by default 2.5 budget / steps.
        falling: from 1.6 times that, linearly to nothing: less is moved that the objective does not ask for.
    """
    size = step or 2.5 * budget / max(steps, 1)
    x = pictures.clone()
    for i in range(steps):
        now = 1.6 * size * (1 - i / steps) if falling else size
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(objective(x), x)
        x = x.detach() + now * slope.sign()
        x = pictures + (x - pictures).clamp(-budget, budget)
        x = x.clamp(0, 1)
    return x.detach()
