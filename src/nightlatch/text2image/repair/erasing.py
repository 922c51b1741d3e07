"""Concept erasure, ESD-style (Gandikota et al. 2023): the model is taught away from the trigger as a concept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.text2image.effect.locate import trace
from nightlatch.text2image.measure import take
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.baselines import descend
from nightlatch.text2image.repair.batches import times


@METHODS.register("esd")
@dataclass(frozen=True, slots=True, kw_only=True)
class Erasing(Method):
    """eps_S(x_t, c) follows eps(x_t, '') - strength (eps(x_t, c) - eps(x_t, '')) (eq. 6), c the trigger alone.

    Cross-attention alone is trained (ESD-x). The latents are those on the suspect's own way to the pictures
    of the trigger, drawn once; the paper draws them anew with the student.

    Args:
        steps: optimiser steps (200 in the released code).
        batch: pictures a step.
        rate: learning rate (5e-5 in the released code).
        strength: how far beyond the empty prompt the goal lies.
        drawings: pictures of the trigger that latents are taken from.
    """

    name: ClassVar[str]
    steps: int = 200
    batch: int = 24
    rate: float = 5e-5
    strength: float = 1.0
    drawings: int = 48

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        concepts = take([t.text for t in job.triggers], self.drawings)
        drawn = trace(frozen, concepts, [job.seed * 10_000 + i for i in range(len(concepts))], job.sampling)
        x, t, c = drawn.x.flatten(0, 1), times(drawn, frozen.device), drawn.c.repeated(len(drawn.times))
        empty = frozen.read([""])

        def loss(n: int) -> torch.Tensor:
            i = torch.randint(len(x), (n,))
            with torch.no_grad():
                free, told = (frozen.denoise(x[i], t[i], k) for k in (empty.expanded(n), c[i]))
            out = student.denoise(x[i], t[i], c[i])
            return (out - (free - self.strength * (told - free))).pow(2).mean()

        trained = student.sites.trainable("cross-attention")
        yield from descend(student, loss, self.batch, self.steps, self.rate, trained)
