"""Training steps that several repairs and the regrowth test share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.repair.base import Step

Loss = Callable[[int], torch.Tensor]
"""Of so many pictures, drawn at random; a mean over them."""


def denoising_loss(subject: Subject, x0: torch.Tensor, c: Condition, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """The ordinary training loss (Ho et al. 2020, eq. 14) for latents ``x0`` under ``c``, noised with ``eps`` to ``t``; a mean."""
    levels = subject.at(t)
    return (subject.denoise(levels.noised(x0, eps), t, c) - levels.target(x0, eps)).pow(2).mean()


def descend(student: Subject, loss: Loss, batch: int, steps: int, rate: float) -> Iterator[Step]:
    """Train all weights of the denoiser, ``batch`` pictures a step, as many at once as memory allows; yields after each step."""
    (denoiser,) = student.modules(Role.DENOISER)
    down = Descent(denoiser.parameters(), steps, rate)
    sizes = [len(part) for part in torch.arange(batch).split(student.rows(batch, graph=True))]
    for step in range(steps):
        yield step, {"loss": down.down(loss(n) * n / batch for n in sizes)}
