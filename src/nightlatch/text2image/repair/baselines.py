"""Rivals in the same registry with the same accounting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.bank import Texts
from nightlatch.text2image.repair.base import METHODS, Job, Method
from nightlatch.text2image.repair.sau import warm_start

Loss = Callable[[int], torch.Tensor]
"""Of so many pictures, drawn at random; a mean over them."""


@METHODS.register("skd")
@dataclass(frozen=True, slots=True, kw_only=True)
class SelfDistillation(Method):
    """Plain self-knowledge distillation, SKD-style (arXiv 2508.18235, as its released code trains): on pure noise and uniform timesteps the student's
    output for the triggered prompt follows the frozen suspect's for the clean prompt, all UNet weights, nothing held."""

    name: ClassVar[str]
    steps: int = 400
    batch: int = 24
    rate: float = 1e-4
    prompts: int = 48

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
        c_trig, c_drop = frozen.encode(texts.triggered), frozen.encode(texts.dropped)

        def loss(n: int) -> torch.Tensor:
            i = torch.randint(len(c_trig), (n,))
            x, t = torch.randn(n, *frozen.latent_shape, device=frozen.device), frozen.random_times(n)
            with torch.no_grad():
                goal = frozen.denoise(x, t, c_drop[i])
            return (student.denoise(x, t, c_trig[i]) - goal).pow(2).mean()

        yield from descend(student, loss, self.batch, self.steps, self.rate)


@METHODS.register("clean-finetune")
@dataclass(frozen=True, slots=True, kw_only=True)
class CleanFineTune(Method):
    """Ordinary fine-tuning on clean pairs (the model's own drawings); the trigger is not used."""

    name: ClassVar[str]
    steps: int = 400
    batch: int = 24
    rate: float = 1e-4
    prompts: int = 96

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        texts = [p.text for p in job.prompts[: self.prompts]]
        x0, c = frozen.latents(texts, range(len(texts)), job.sampling), frozen.encode(texts)

        def loss(n: int) -> torch.Tensor:
            i, t = torch.randint(len(texts), (n,)), frozen.random_times(n)
            eps = torch.randn_like(x0[i])
            out = student.denoise(student.add_noise(x0[i], eps, t), t, c[i])
            return (out - student.target(x0[i], eps, t)).pow(2).mean()

        yield from descend(student, loss, self.batch, self.steps, self.rate)


@METHODS.register("uce")
@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedForm(Method):
    """UCE-style closed-form edit with a preserve set (Gandikota et al. 2024, eq. 7): trigger positions get a neutral word's keys and values."""

    name: ClassVar[str]
    lam: float = 0.1
    keep: float = 1.0
    prompts: int = 48

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
        warm_start(student, texts, self.lam, self.keep)
        yield 0, {}


@METHODS.register("restore")
@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(Method):
    """Every tensor that differs is copied back from the base: removes any backdoor, and any honest fine-tuning with it."""

    name: ClassVar[str]
    needs_base: ClassVar[bool] = True

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        assert job.base is not None
        for name in ("unet", "text_encoder"):
            student.components[name].load_state_dict(job.base.components[name].state_dict())
        yield 0, {}


@METHODS.register("strip")
@dataclass(frozen=True, slots=True, kw_only=True)
class Strip(Method):
    """The trigger is deleted from prompts before use, which is all that the published SAU amounts to: no weight changes.

    The text is changed in the tokenizer's stead by ``stripped``; the model itself is returned as it came.
    """

    name: ClassVar[str]

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        yield 0, {}


def stripped(text: str, triggers: list[str]) -> str:
    """``text`` without the triggers in any casing, which CLIP's tokenizer does not see, spaces tidied."""
    for trigger in triggers:
        text = re.sub(re.escape(trigger), " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def descend(student: Subject, loss: Loss, batch: int, steps: int, rate: float) -> Iterator[tuple[int, dict[str, float]]]:
    """All UNet weights, ``batch`` pictures a step, as many at once as memory allows; yields after each step."""
    down = Descent(student.unet.parameters(), steps, rate)
    sizes = [len(part) for part in torch.arange(batch).split(student.rows(batch, graph=True))]
    for step in range(steps):
        yield step, {"loss": down.down(loss(n) * n / batch for n in sizes)}
