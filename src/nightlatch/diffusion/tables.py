"""Tables of noise levels made from a formula, for models that are trained here."""

from __future__ import annotations

import math

import torch

from nightlatch.diffusion.schedule import Discrete, Prediction


def linear(
    n: int, first: float, last: float, predicts: Prediction = "epsilon", device: torch.device | str = "cpu"
) -> Discrete:
    """beta_t evenly spaced from ``first`` to ``last`` over ``n`` timesteps (Ho et al. 2020, section 4)."""
    betas = torch.linspace(first, last, n, dtype=torch.float64)
    return Discrete(n=n, abar=(1 - betas).cumprod(0).float().to(device), predicts=predicts)


def cosine(n: int, predicts: Prediction = "v_prediction", device: torch.device | str = "cpu") -> Discrete:
    """abar_t = f(t) / f(0) with f(t) = cos^2((t/n + 0.008) / 1.008 * pi/2), each beta at most 0.999 (Nichol
    and Dhariwal 2021, eq. 17).
    """

    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = torch.tensor([min(1 - f((i + 1) / n) / f(i / n), 0.999) for i in range(n)], dtype=torch.float64)
    return Discrete(n=n, abar=(1 - betas).cumprod(0).float().to(device), predicts=predicts)
