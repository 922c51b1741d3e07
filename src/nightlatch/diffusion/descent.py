"""The one optimiser of attacks, repairs and honest training.

AdamW, short warm-up, cosine decay or a constant rate, clipped gradients, optional average of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch


class Descent:
    """Steps down losses for a fixed number of steps.

    Args:
        parameters: made trainable here, frozen again by ``finish``.
        steps: planned number of steps.
        rate: peak learning rate.
        warm: steps of linear warm-up.
        average: decay of a running average that ``finish`` puts in place of the weights; 0 for none.
        decays: whether the rate falls to zero over the ``steps``, or stays.
        masters: float32 values of parameters of less precision, by default those parameters themselves.

    Parameters of less than float32 have float32 masters, which the optimiser moves; after each step they are
    rounded into the parameters, so that steps smaller than a rounding error add up.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        steps: int,
        rate: float,
        warm: int = 5,
        average: float = 0.0,
        decays: bool = True,
        masters: Sequence[torch.Tensor] = (),
    ) -> None:
        self.parameters = [p.requires_grad_(True) for p in parameters]
        self.steps, self.rate, self.warm, self.average, self.step = steps, rate, warm, average, 0
        self.decays = decays
        self.masters = list(masters) or [
            p if p.dtype == torch.float32 else p.detach().float() for p in self.parameters
        ]
        self.optimizer = torch.optim.AdamW(self.masters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
        self.mean = [p.detach().clone() for p in self.masters] if average else []

    def __call__(self, loss: torch.Tensor) -> float:
        """One step down ``loss``; returns its value."""
        return self.down((loss,))

    def down(self, losses: Iterable[torch.Tensor]) -> float:
        """One step down the sum of ``losses``, made one by one so that only one graph is held at a time."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.steps)) if self.decays else 1.0
        scale = min(1.0, (self.step + 1) / self.warm) * cosine
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * scale
        for p in self.parameters:
            p.grad = None
        total = 0.0
        for loss in losses:
            loss.backward()
            total += float(loss.detach())
        for p, master in zip(self.parameters, self.masters, strict=True):
            if master is not p:
                master.grad = None if p.grad is None else p.grad.float()
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        self.optimizer.step()
        self._round()
        if self.average:
            decay = min(self.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.mean, [p.detach() for p in self.masters], 1 - decay)
        self.step += 1
        return total

    @torch.no_grad()
    def _round(self) -> None:
        """Put the masters into the parameters that have any."""
        for p, master in zip(self.parameters, self.masters, strict=True):
            if master is not p:
                p.copy_(master)

    def finish(self) -> None:
        """Freeze the parameters; put the average in place where there is one."""
        for p, m in zip(self.parameters, self.mean, strict=False):
            p.data.copy_(m)
        for p in self.parameters:
            p.requires_grad_(False)
