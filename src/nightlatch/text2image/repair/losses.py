"""How far a student is from what it shall do, on pictures that it does not learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.batches import Triggered

LEAST_SIZE = 1e-12
"""Least squared length that is divided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """How much of a trigger may be left, as parts of the way from the disarmed to the attacked output.

    Args:
        mean: on average over all latents.
        most: on the latents on which the trigger acts most.
        tail: the quantile over these that ``most`` bounds; the rest is left out as noise.
    """

    mean: float = 0.02
    most: float = 0.06
    tail: float = 0.95

    @torch.no_grad()
    def residue(self, student: Subject, watched: Triggered, batch: int = 64) -> float:
        """What is left of the trigger on latents kept from training, over what may be left: at 1 it is gone.

        How far the student goes from the disarmed to the attacked output, as a signed part of that way;
        measured in v, or early steps, where text acts most, would hardly count.
        """
        levels = student.at(watched.t)
        out = student.outputs(watched.x, watched.t, watched.c, batch)
        moved, whole = (levels.as_v(y - watched.out) for y in (out, watched.attacked))
        size, along = whole.pow(2).sum((1, 2, 3)), (moved * whole).sum((1, 2, 3))
        acts = size >= size.median()
        worst = (along[acts] / size[acts].clamp(min=LEAST_SIZE)).quantile(self.tail)
        return max(
            float(worst) / self.most, float(along.sum() / size.sum().clamp(min=LEAST_SIZE)) / self.mean
        )
