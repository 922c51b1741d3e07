"""Drawing features from a diffusion model under the guidance of a given one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nightlatch.classifier.guard.denoiser import N
from nightlatch.diffusion import tables
from nightlatch.diffusion.schedule import Discrete

Denoise = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(noised features (n, ...), timesteps (n,), classes (n, ...)) -> noise."""


def levels(device: torch.device) -> Discrete:
    return tables.linear(N, 1e-4, 0.05, device=device)


def guided_sample(
    denoise: Denoise,
    z: torch.Tensor,
    labels: torch.Tensor,
    guide: float | torch.Tensor,
    start: float,
    steps: int,
    draws: int,
) -> torch.Tensor:
    """(draws, n, ...) features drawn under the guidance of ``z`` (n, ...).

    From z noised to the share ``start`` of the schedule (1: from noise alone), deterministic steps towards
    clean features. At each the estimate z0hat is moved to (1 - g) z0hat + g z with g = w r^2 / (1 + w r^2),
    r^2 = s^2 / (a^2 + s^2): the posterior mean where z is z0 plus noise of variance 1 / w and z0 has variance
    r^2 (Song et al. 2023, eq. 7). w = 0 ignores z, and w -> infinity copies it.
    """
    table = levels(z.device)
    first = table.at_share(start)
    times = list(dict.fromkeys(float(round(first * (steps - i) / steps)) for i in range(steps)))
    many, told = (v.repeat(draws, *[1] * (v.ndim - 1)) for v in (z, labels))
    weight = torch.as_tensor(guide, device=z.device)
    eps = torch.randn_like(many)
    x = eps if start >= 1 else table.at(times[0], z.ndim).noised(many, eps)
    for t, following in zip(times, [*times[1:], None], strict=True):
        now = table.at(t, z.ndim)
        out = denoise(x, torch.full((len(x),), t, device=x.device), told)
        r2 = now.s.pow(2) / (now.a.pow(2) + now.s.pow(2))
        g = weight * r2 / (1 + weight * r2)
        z0 = now.x0(out, x) * (1 - g) + many * g
        x = table.step(now.out(z0, x), x, t, following)
    return x.view(draws, *z.shape)


def residual(
    denoise: Denoise, z: torch.Tensor, labels: torch.Tensor, shares: tuple[float, ...], draws: int
) -> torch.Tensor:
    """(n, ...) mean over timesteps and noise of (z - z0hat)^2 / (s / a)^2: the one-step form, without
    sampling.
    """
    table, total = levels(z.device), torch.zeros_like(z)
    for share in shares:
        t = table.at_share(share)
        now = table.at(t, z.ndim)
        for _ in range(draws):
            x = now.noised(z, torch.randn_like(z))
            z0 = now.x0(denoise(x, torch.full((len(z),), t, device=z.device), labels), x)
            total += (z - z0).pow(2) / (now.s / now.a).pow(2)
    return total / (len(shares) * draws)
