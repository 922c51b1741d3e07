"""The training loop that rivals share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import Step

Loss = Callable[[int], torch.Tensor]
"""Of so many pictures, drawn at random; a mean over them."""


def descend(student: Subject, loss: Loss, batch: int, steps: int, rate: float) -> Iterator[Step]:
    """Train all weights of the denoiser, ``batch`` pictures a step, as many at once as memory allows; yields after each step."""
    (denoiser,) = student.modules(Role.DENOISER)
    down = Descent(denoiser.parameters(), steps, rate)
    sizes = [len(part) for part in torch.arange(batch).split(student.rows(batch, graph=True))]
    for step in range(steps):
        yield step, {"loss": down.down(loss(n) * n / batch for n in sizes)}
