"""Rivals in the same registry with the same accounting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.diffusion import training
from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.texts import Texts

Loss = Callable[[int], torch.Tensor]
"""Of so many pictures, drawn at random; a mean over them."""


@METHODS.register("skd")
@dataclass(frozen=True, slots=True, kw_only=True)
class SelfDistillation(Method):
    """Plain self-knowledge distillation, SKD-style (arXiv 2508.18235, as its released code trains).

    On pure noise and uniform timesteps the student's output for the triggered prompt follows the frozen
    suspect's for the clean prompt; all weights of the denoiser change, and nothing is held.

    Args:
        steps: optimiser steps.
        batch: pictures a step.
        rate: learning rate.
        prompts: prompts per trigger.
    """

    name: ClassVar[str]
    steps: int = 400
    batch: int = 24
    rate: float = 1e-4
    prompts: int = 48

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
        c_trig, c_drop = frozen.read(texts.triggered), frozen.read(texts.dropped)

        def loss(n: int) -> torch.Tensor:
            i = torch.randint(len(c_trig), (n,))
            x, t = torch.randn(n, *frozen.latent_shape, device=frozen.device), frozen.schedule.draw(n)
            with torch.no_grad():
                goal = frozen.denoise(x, t, c_drop[i])
            return (student.denoise(x, t, c_trig[i]) - goal).pow(2).mean()

        yield from descend(student, loss, self.batch, self.steps, self.rate)


@METHODS.register("clean-finetune")
@dataclass(frozen=True, slots=True, kw_only=True)
class CleanFineTune(Method):
    """Ordinary fine-tuning of the denoiser on the model's own clean drawings; the trigger is not used.

    Args:
        steps: optimiser steps.
        batch: pictures a step.
        rate: learning rate.
        prompts: most prompts that are drawn.
    """

    name: ClassVar[str]
    steps: int = 400
    batch: int = 24
    rate: float = 1e-4
    prompts: int = 96

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        texts = [p.text for p in job.prompts[: self.prompts]]
        x0, c = frozen.latents(texts, range(len(texts)), job.sampling), frozen.read(texts)

        def loss(n: int) -> torch.Tensor:
            i = torch.randint(len(texts), (n,))
            return training.loss(student.schedule, lambda x, t: student.denoise(x, t, c[i]), x0[i])

        yield from descend(student, loss, self.batch, self.steps, self.rate)


def descend(
    student: Subject,
    loss: Loss,
    batch: int,
    steps: int,
    rate: float,
    trained: Iterable[torch.nn.Parameter] | None = None,
) -> Iterator[Step]:
    """Train the denoiser (``trained``, or all of it), ``batch`` pictures a step, as memory allows.

    Yields after each step.
    """
    (denoiser,) = student.modules(Role.DENOISER)
    down = Descent(denoiser.parameters() if trained is None else trained, steps, rate)
    sizes = [len(part) for part in torch.arange(batch).split(student.rows(batch, graph=True))]
    for step in range(steps):
        yield step, {"loss": down.down(loss(n) * n / batch for n in sizes)}
