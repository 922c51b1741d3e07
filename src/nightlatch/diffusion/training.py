"""One way to train a diffusion model, whatever it draws."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from nightlatch.diffusion.schedule import Schedule

TimedDenoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(noised samples (n, ...), timesteps (n,)) -> raw output, shape of the samples."""


def loss(
    schedule: Schedule,
    denoise: TimedDenoise,
    x0: torch.Tensor,
    high: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """E || target - denoise(a_t x0 + s_t eps, t) ||^2 over one random t in the share 0..``high`` of the
    schedule for each sample.
    """
    t = schedule.draw(len(x0), 0.0, high, generator)
    eps = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
    return loss_at(schedule, denoise, x0, t, eps)


def loss_at(
    schedule: Schedule, denoise: TimedDenoise, x0: torch.Tensor, t: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """The same for given timesteps (n,) and noise (Ho et al. 2020, eq. 14): a batch can be cut into parts
    without another draw.
    """
    levels = schedule.at(t, x0.ndim)
    out = denoise(levels.noised(x0, eps), t)
    return (out.float() - levels.target(x0, eps).float()).pow(2).mean()


def cycle(optimizer: torch.optim.Optimizer, steps: int, warm: float) -> torch.optim.lr_scheduler.LambdaLR:
    """The rate over ``steps``: up in a straight line over the share ``warm`` of them, then down half a cosine
    to nothing.
    """
    rising = max(1.0, warm * steps)

    def scale(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(steps - rising, 1))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, scale)


class Average:
    """A running average of a module's weights (decay rising to ``decay``), which draws better than the last
    ones.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.step = module, decay, 0
        self.mean = [p.detach().clone() for p in module.parameters()]

    def update(self) -> None:
        """After each optimiser step."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.module.parameters()], 1 - decay)
        self.step += 1

    def averaged(self) -> nn.Module:
        """A copy of the module with the average in place."""
        made = copy.deepcopy(self.module)
        for p, m in zip(made.parameters(), self.mean, strict=True):
            p.data.copy_(m)
        return made


def train(
    module: nn.Module,
    step_loss: Callable[[int], torch.Tensor],
    steps: int,
    rate: float,
    *,
    average: Average | None = None,
    half: bool = False,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Steps down ``step_loss`` (given the step's number) with AdamW, a warm-up of a twentieth, cosine decay
    and clipped gradients; yields (step, loss) after each. ``half``: bfloat16 autocast, on a device that
    computes it.
    """
    device = next(module.parameters()).device.type
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=device == "cuda"
    )
    schedule = cycle(optimizer, steps, 0.05)
    module.train()
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            value = step_loss(step)
        value.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update()
        yield step, value.detach()
    module.eval()
