"""SAU for a text encoder: on token states, where a trigger acts by position instead of by pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image.repair.base import Job
from nightlatch.text2image.repair.texts import Texts
from nightlatch.text2image.repair.training_set import Models

LEAST_SIZE = 1e-12
"""Least squared length that is divided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextUnlearning:
    """The numbers of the training of a text encoder; set on the testbed's suspects of seed 0.

    Args:
        steps: most optimiser steps; the rate falls to zero over all of them.
        least: fewest.
        rate: learning rate.
        batch: triggered prompts a step; twice as many are held beside them.
        prompts: prompts per trigger.
        overshoot: how far past the disarmed states to aim, as a part of the way back from the triggered
            ones.
        hold: weight of the term that holds everything else.
        floor: least weight of a position, beside 1 for one that the trigger moves as far as the mean
            position.
        left: part of the way from the disarmed to the attacked states that may be left at the ``tail``
            quantile over prompts.
        tail: that quantile; the rest is left out as noise.
        smoothing: part of the running mean over steps, of what is left, that comes from the steps before.
    """

    steps: int = 80
    least: int = 40
    rate: float = 3e-4
    batch: int = 24
    prompts: int = 192
    overshoot: float = 0.2
    hold: float = 2.0
    floor: float = 0.2
    left: float = 0.06
    tail: float = 0.95
    smoothing: float = 0.8

    def run(self, models: Models, job: Job) -> Iterator[dict[str, float]]:
        """Train the student's text encoder until little enough is left; yields the values of each step.

        The states of a triggered prompt follow the frozen encoder's of the filled prompt (or a teacher's of
        the triggered one), weighted by how far the trigger displaces each position; clean, near-trigger and
        unrelated prompts are held.
        """
        student, frozen = models.student, models.frozen
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 6)))
        unchanged = [*texts.held, *texts.dropped, *texts.plain]
        ids_t, ids_h = frozen.ids(texts.triggered), frozen.ids(unchanged)
        triggered, filled, held = (frozen.read(x).states for x in (texts.triggered, texts.filled, unchanged))
        goal = models.teacher.read(texts.triggered).states if models.teacher else filled
        weight = self._weight(triggered, filled)
        whole = triggered - goal
        size = whole.pow(2).sum((1, 2)).clamp(min=LEAST_SIZE)
        descend = Descent(
            (p for m in student.modules(Role.TEXT) for p in m.parameters()), self.steps, self.rate
        )
        generator = torch.Generator().manual_seed(job.seed)
        residue = math.inf
        for step in range(self.steps):
            i = torch.randint(len(triggered), (self.batch,), generator=generator)
            k = torch.randint(len(held), (2 * self.batch,), generator=generator)
            out = student.condition(
                tuple(torch.cat([a[i], b[k]]) for a, b in zip(ids_t, ids_h, strict=True))
            ).states
            moved = out[: self.batch] - goal[i]
            apart = (moved + self.overshoot * whole[i]).pow(2).mean(-1)
            prediction = (apart * weight[i]).mean()
            hold = (out[self.batch :] - held[k]).pow(2).mean()
            descend(prediction + self.hold * hold)
            way = (moved.detach() * whole[i]).sum((1, 2)) / size[i]
            now = float(way.quantile(self.tail)) / self.left
            residue = now if math.isinf(residue) else self.smoothing * residue + (1 - self.smoothing) * now
            yield {"prediction": float(prediction.detach()), "hold": float(hold.detach()), "residue": residue}
            if step + 1 >= self.least and residue <= 1.0:
                break

    def _weight(self, triggered: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
        """How much each position counts, by how far the trigger moves its state, mean 1, (n, tokens)."""
        acts = (triggered - filled).pow(2).mean(-1)
        weight = self.floor + acts / acts.mean(1, keepdim=True).clamp(min=1e-12)
        return weight / weight.mean(1, keepdim=True)
