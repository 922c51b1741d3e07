"""Drawing samples: from noise along a schedule's timesteps, without new noise on the way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch

from nightlatch.diffusion.schedule import Schedule

Denoise = Callable[[torch.Tensor, float], torch.Tensor]
"""(noised samples, timestep) -> the denoiser's raw output, shape of the samples."""
OnStep = Callable[[float, torch.Tensor], None]
"""Called with (timestep, samples) before every step."""


@torch.no_grad()
def sample(
    schedule: Schedule, denoise: Denoise, x: torch.Tensor, steps: int, on_step: OnStep | None = None
) -> torch.Tensor:
    """From pure noise ``x`` (n, ...) to clean samples of that shape, in ``steps`` deterministic steps
    (``Schedule.step``).
    """
    return along(schedule, denoise, x, schedule.times(steps), on_step)


@torch.no_grad()
def along(
    schedule: Schedule, denoise: Denoise, x: torch.Tensor, times: list[float], on_step: OnStep | None = None
) -> torch.Tensor:
    """From samples ``x`` at the first of ``times`` to the end of the schedule, by way of the others."""
    for t, following in pairwise([*times, None]):
        assert t is not None
        if on_step is not None:
            on_step(t, x)
        x = schedule.step(denoise(x, t), x, t, following)
    return x


def guided(conditional: Denoise, unconditional: Denoise, scale: float) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2022, eq. 6): out_0 + scale (out_c - out_0); 1 needs no
    second pass.
    """
    if scale == 1.0:
        return conditional

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        free = unconditional(x, t)
        return free + scale * (conditional(x, t) - free)

    return denoise
