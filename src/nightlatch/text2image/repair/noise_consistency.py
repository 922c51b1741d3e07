"""Repair at the timesteps where noise predictions are inconsistent, TNC-style.

Temporal noise consistency: along a triggered picture the predicted noise jumps at some timesteps where it does
not along an ordinary one. The paper was not readable in full; from its description: those timesteps are
located, and the model is trained there on triggered prompts with clean pictures, from a reference model where
there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.text2image.effect.locate import Trace, trace
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.baselines import descend
from nightlatch.text2image.repair.batches import outputs_along
from nightlatch.text2image.repair.texts import Texts


@METHODS.register("tnc")
@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseConsistency(Method):
    """Denoising loss on clean pictures under triggered prompts at the located timesteps, and on clean prompts.

    Args:
        steps, batch, rate, prompts: as of plain self-distillation ("skd"); half of a batch is clean.
        deviations: standard deviations above an ordinary picture's mean from which a timestep is located.
    """

    name: ClassVar[str]
    steps: int = 400
    batch: int = 24
    rate: float = 1e-4
    prompts: int = 48
    deviations: float = 2.0

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
        seeds = [job.seed * 10_000 + i for i in range(len(texts.triggered))]
        attacked, ordinary = (trace(frozen, x, seeds, job.sampling) for x in (texts.triggered, texts.dropped))
        ways = [jumps(frozen, way, job.sampling.batch) for way in (attacked, ordinary)]
        located = located_times(ways[0], ways[1], self.deviations)
        pool = torch.tensor(attacked.times, device=frozen.device)[located]
        x0 = (job.base or frozen).latents(texts.dropped, seeds, job.sampling)
        c_trig, c_drop = frozen.read(texts.triggered), frozen.read(texts.dropped)

        def loss(n: int) -> torch.Tensor:
            i, half = torch.randint(len(x0), (n,)), (n + 1) // 2
            t = frozen.schedule.draw(n).to(frozen.device)
            chosen = pool[torch.randint(len(pool), (half,))]
            t = torch.cat([chosen.to(t.dtype), t[half:]])
            eps, levels = torch.randn_like(x0[i]), frozen.at(t)
            c = Condition.joined([c_trig[i[:half]], c_drop[i[half:]]])
            out = student.denoise(levels.noised(x0[i], eps), t, c)
            return (out - levels.target(x0[i], eps)).pow(2).mean()

        yield from descend(student, loss, self.batch, self.steps, self.rate)


def jumps(subject: Subject, way: Trace, batch: int) -> torch.Tensor:
    """How far the predicted noise goes from one timestep of ``way`` to the next, (steps - 1, n)."""
    out = outputs_along(way, subject, way.c, batch).unflatten(0, way.x.shape[:2])
    noise = torch.stack([subject.at(t).eps(y, x) for t, y, x in zip(way.times, out, way.x, strict=True)])
    apart: torch.Tensor = noise.diff(dim=0).pow(2).mean((2, 3, 4))
    return apart


def located_times(attacked: torch.Tensor, ordinary: torch.Tensor, deviations: float) -> torch.Tensor:
    """Indices of the timesteps at which ``attacked`` jumps more than ``ordinary`` does, at least one."""
    above = (attacked.mean(1) - ordinary.mean(1)) / ordinary.std(1).clamp(min=1e-12)
    some = (above > deviations).nonzero()[:, 0]
    chosen = some if len(some) else above.argmax()[None]
    both: torch.Tensor = torch.unique(torch.cat([chosen, chosen + 1]))
    return both
