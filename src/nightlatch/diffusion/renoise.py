"""Noise a sample part of the way and denoise it again: what is common stays, what is rare is drawn anew."""

from __future__ import annotations

import torch

from nightlatch.diffusion.sampler import Denoise, along
from nightlatch.diffusion.schedule import Schedule


def times_from(schedule: Schedule, strength: float, steps: int) -> list[float]:
    """``steps`` timesteps from the share ``strength`` (0..1) of the schedule down towards the picture, evenly
    spaced, none twice.
    """
    first = schedule.at_share(strength)
    return list(dict.fromkeys(float(round(first * (steps - i) / steps)) for i in range(steps)))


@torch.no_grad()
def renoise_denoise(
    schedule: Schedule,
    denoise: Denoise,
    x0: torch.Tensor,
    strength: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Samples like ``x0`` (n, ...), less like them the greater ``strength`` in 0..1; 0 gives ``x0`` itself.

    x_t = a x0 + s eps at t = strength n, then deterministic steps back (Meng et al. 2022, SDEdit; as a
    purifier Nie et al. 2022).
    """
    if strength <= 0:
        return x0
    times = times_from(schedule, strength, steps)
    eps = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
    return along(schedule, denoise, schedule.at(times[0], x0.ndim).noised(x0, eps), times)
