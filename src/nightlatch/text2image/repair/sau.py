"""Spatial Attention Unlearning, in weights, for triggers that scan recovered.

The published SAU (arXiv 2504.18563) blends two latents and changes no weight; its successor's attention loss
has no gradient. Here cross-attention learns: the student on the triggered prompt follows the frozen suspect on the
disarmed prompt, where and when the trigger acts; all else is held to the frozen suspect. A term that leads the
attention maps themselves made no difference (docs/decisions/14-what-sau-is-made-of.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.diffusion.memory import Cut
from nightlatch.terms import Role
from nightlatch.text2image.model import Condition, Subject, Trainable
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.batches import Held, Triggered
from nightlatch.text2image.repair.closed_form import edit_readers
from nightlatch.text2image.repair.losses import Allowed
from nightlatch.text2image.repair.text import TextUnlearning
from nightlatch.text2image.repair.texts import Texts
from nightlatch.text2image.repair.training_set import Models, TrainingSet, training_set, triggered_batch
from nightlatch.text2image.repair.working import Working


@dataclass(frozen=True, slots=True)
class Round:
    """A number of optimiser steps over which the rate falls to zero.

    Args:
        train: which weights change.
        steps: how many steps.
        plain: whether only the prompts without a neutral word are held.
    """

    train: Trainable
    steps: int
    plain: bool = False


@METHODS.register("sau")
@dataclass(frozen=True, slots=True, kw_only=True)
class SAU(Method):
    """A closed-form edit; where it leaves some of the trigger, training where the trigger acts.

    Rates, weights and numbers of steps were set on the testbed's suspects of seed 0, so that clean prompts
    lose least.

    Args:
        steps: most optimiser steps in the denoiser (the closed-form edit is one more).
        least: steps of one round; another follows while some of the trigger is left.
        in_place: steps where neutral words stand for the trigger, always all of them: what is left of it
            cannot be told from what those words do themselves.
        afterwards: further steps on all weights there, with only the prompts held that have no neutral word:
            the suspect draws something of the attacked picture for any word in that place, and holding such
            words would keep it so.
        look: steps between looks at what is left.
        batch: pictures a step; two thirds with the trigger, one third held.
        rate: learning rate.
        prompts: prompts per trigger.
        prediction: weight of the prediction term.
        hold: weight of the term that holds everything else.
        overshoot: how far past the disarmed output to aim, as a part of the way back from the attacked one:
            a suspect that was trained on the attack draws a little of it for every prompt.
        replaced: the same where neutral words stand for the trigger, which draw more of it (1 as in ESD,
            Gandikota et al. 2023).
        masked: whether the prediction term is weighted by where the trigger acts.
        warm_start: whether the closed-form edit comes first.
        lam, keep: of the closed-form edit, as of the repair "uce".
        warm_enough: the edit is taken for the whole repair when the residue it leaves is at most this; 1
            would do after training, and half of it is asked of an edit, which does not know where in the
            picture the trigger acts.
        train: which weights change but for ``afterwards``. Cross-attention costs clean prompts less than all
            weights do, and leaves more of a trigger that stands in a slot's place.
        watched: every so many-th prompt is kept from training and tells when to stop.
        allowed: how much of the trigger may be left.
        text: the part of the repair that trains the text encoder.
        working: which precision and rank the denoiser learns in, and how a step is cut to fit memory.
    """

    name: ClassVar[str]
    steps: int = 80
    least: int = 25
    in_place: int = 30
    afterwards: int = 20
    look: int = 5
    batch: int = 30
    rate: float = 1e-4
    prompts: int = 60
    prediction: float = 1.0
    hold: float = 2.0
    overshoot: float = 0.5
    replaced: float = 1.0
    masked: bool = True
    warm_start: bool = True
    lam: float = 0.1
    keep: float = 1.0
    warm_enough: float = 0.5
    train: Trainable = "cross-attention"
    watched: int = 5
    allowed: Allowed = field(default_factory=Allowed)
    text: TextUnlearning = field(default_factory=TextUnlearning)
    working: Working = field(default_factory=Working)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        models = Models(student=student, frozen=frozen, teacher=job.base if self.needs_base else None)
        done = 0
        if Role.TEXT in job.carriers:
            for values in self.text.run(models, job):
                yield done, values
                done += 1
        if Role.DENOISER in job.carriers:
            for values in self._in_denoiser(models, job):
                yield done, values
                done += 1

    def _in_denoiser(self, models: Models, job: Job) -> Iterator[dict[str, float]]:
        """The values of each step in the denoiser."""
        student, rng = models.student, np.random.default_rng((job.seed, 9))
        texts, kept = Texts.of(models.frozen, job, self.prompts, rng).parted(self.watched)
        watched, _ = triggered_batch(models, job, kept, len(texts.triggered))
        if self.warm_start:
            edit_readers(student, texts, self.lam, self.keep)
            left = self.allowed.residue(student, watched)
            yield {"residue": left}
            if left <= self.warm_enough and not any(texts.replaced):
                return
        cut = self.working.cut(models, self.train, self.batch)
        with self.working.aside(student, cut):
            learned = training_set(models, job, texts).in_files(self.working.in_files)
        in_place, left = bool(learned.triggered.replaced.any()), math.inf
        for i, part in enumerate(self._rounds(in_place)):
            for values in self._unlearn(models, learned, watched, part, job.seed + i, cut):
                yield values
                left = values.get("residue", left)
            if left <= 1.0 and not in_place:
                break

    def _rounds(self, in_place: bool) -> tuple[Round, ...]:
        if in_place:
            return Round(self.train, self.in_place), Round("all", self.afterwards, plain=True)
        return tuple(
            Round(self.train, min(self.least, self.steps - i)) for i in range(0, self.steps, self.least)
        )

    def _unlearn(
        self, models: Models, learned: TrainingSet, watched: Triggered, part: Round, seed: int, cut: Cut
    ) -> Iterator[dict[str, float]]:
        """The values of each step of a round."""
        generator, student = torch.Generator().manual_seed(seed), models.student
        n_triggered, source = 2 * self.batch // 3, learned.plain if part.plain else learned.held
        with self.working.held(models, part.train, cut, seed) as (learns, masters):
            descend = Descent(learns, part.steps, self.rate, masters=masters)
            for step in range(part.steps):
                i = torch.randint(len(learned.triggered.x), (n_triggered,), generator=generator)
                k = torch.randint(len(source.x), (self.batch - n_triggered,), generator=generator)
                values = dict.fromkeys(self._weights, 0.0)
                triggered, held = learned.triggered.take(i, student.device), source.take(k, student.device)
                descend.down(self._losses(student, triggered, held, values, cut.rows))
                if (step + 1) % self.look == 0 or step + 1 == part.steps:
                    values["residue"] = self.allowed.residue(student, watched)
                yield values

    @property
    def _weights(self) -> dict[str, float]:
        """Of the terms of the loss."""
        return {"prediction": self.prediction, "hold": self.hold}

    def _losses(
        self, student: Subject, triggered: Triggered, held: Held, values: dict[str, float], rows: int
    ) -> Iterator[torch.Tensor]:
        """The loss in passes of at most ``rows`` pictures; the terms' means are added to ``values``."""
        batch = len(triggered.x) + len(held.x)
        parts = min(len(triggered.x), math.ceil(batch / rows))
        for some, others in zip(triggered.parts(parts), held.parts(parts), strict=True):
            seen, kept = len(some.x) / len(triggered.x), len(others.x) / len(held.x)
            terms = self._terms(student, some, others).items()
            share = {name: (kept if name == "hold" else seen) * term for name, term in terms}
            for name, term in share.items():
                values[name] += float(term.detach())
            yield torch.stack([self._weights[name] * term for name, term in share.items()]).sum()

    def _terms(self, student: Subject, triggered: Triggered, held: Held) -> dict[str, torch.Tensor]:
        """The terms of the loss, each a mean over its pictures."""
        n = len(triggered.x)
        x, t = torch.cat([triggered.x, held.x]), torch.cat([triggered.t, held.t])
        out = student.denoise(x, t, Condition.joined([triggered.c, held.c]))
        apart = (out[:n] - triggered.beyond(self.overshoot, self.replaced)).pow(2).mean(1)
        terms = {"prediction": (apart * triggered.mask).mean() if self.masked else apart.mean()}
        return terms | ({"hold": (out[n:] - held.out).pow(2).mean()} if len(held.x) else {})


@METHODS.register("sau-base")
@dataclass(frozen=True, slots=True, kw_only=True)
class SAUWithBase(SAU):
    """SAU that asks a trusted base what a triggered prompt looks like without the backdoor.

    What the attack did to neutral words goes, too. Unlike restoring tensors it keeps all else that the
    suspect has learnt.
    """

    needs_base: ClassVar[bool] = True
