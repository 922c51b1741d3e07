"""Spatial Attention Unlearning, in weights, for a trigger that scan recovered.

The published SAU (arXiv 2504.18563) blends two latents and changes no weight; its successor's attention loss has no gradient. Here the student on the
triggered prompt follows the frozen suspect on the disarmed prompt, where and when the trigger acts (``locate``); the trigger's tokens get the
attention that neutral words get, the other tokens keep the attention they have without it; all else is held to the frozen suspect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image import edit, probe
from nightlatch.text2image.repair.bank import Bank, Held, Shown, Texts, attack, build
from nightlatch.text2image.repair.base import METHODS, Job, Method
from nightlatch.text2image.repair.text import unlearn_text
from nightlatch.text2image.subject import Subject

WATCHED = 5
"""Every so many-th picture is kept from training and tells when to stop."""
WAY, MOST = 0.02, 0.06
"""Parts of the way from the disarmed to the attacked output that may be left: on average, and at most."""
CERTAIN = 0.5
"""Part of what may be left that a warm start must not exceed to be all of the repair: it was not told where the trigger acts."""
Trainable = Literal["keys and values", "cross-attention", "all"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A number of optimiser steps, the rate falling to zero over them, on the weights ``train``; ``plain``: only plain prompts are held."""

    train: Trainable
    steps: int
    plain: bool = False


@METHODS.register("sau")
@dataclass(frozen=True, slots=True, kw_only=True)
class SAU(Method):
    """Warm start; where it leaves some of the trigger, locate and unlearn.

    Args:
        steps: most optimiser steps (the warm start is one more).
        least: steps of one round, over which the rate falls to zero; another round follows while the trigger still moves the output towards the
            attacked one.
        in_text: fewest steps for a text encoder, whose rate falls to zero over all ``steps``.
        in_place: optimiser steps where neutral words stand for the trigger, always all of them: what is left of it cannot be told from what those
            words do themselves.
        afterwards: further ones on all weights there, with plain prompts alone held: the suspect leans to the attacked picture for any word in
            that place, and holding such words would keep it so.
        look: steps between looks at what is left.
        batch: pictures a step; two thirds with the trigger, one third held.
        rate: learning rate (AdamW, cosine).
        prompts: prompts per trigger.
        attention: weight of the attention term.
        prediction: weight of the prediction term.
        hold: weight of the term that holds everything else.
        overshoot: how far past the disarmed output to aim in the denoiser, as a part of the way back from the attacked one: a suspect that was
            trained on the attack leans to it a little on every prompt.
        replaced: the same where neutral words stand for the trigger, which lean to the attacked one, too (1 as in ESD, Gandikota et al. 2023).
        masked: whether the prediction term is weighted by where the trigger acts.
        warm_start: closed-form edit of keys and values first.
        train: which weights may change, but for ``afterwards``. Cross-attention costs clean prompts less than all weights do, and leaves more of a
            trigger that stands in a slot's place.
    """

    name: ClassVar[str]
    steps: int = 80
    least: int = 25
    in_text: int = 40
    in_place: int = 30
    afterwards: int = 20
    look: int = 5
    batch: int = 30
    rate: float = 1e-4
    prompts: int = 60
    attention: float = 1.0
    prediction: float = 1.0
    hold: float = 2.0
    overshoot: float = 0.5
    replaced: float = 1.0
    masked: bool = True
    warm_start: bool = True
    train: Trainable = "cross-attention"

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[tuple[int, dict[str, float]]]:
        done, teacher = 0, job.base if self.needs_base else None
        if Role.TEXT in job.carriers:
            for done, values in unlearn_text(student, frozen, job, self.steps, self.in_text, teacher=teacher):
                yield done, values
            done += 1
        if Role.DENOISER in job.carriers or Role.TEXT not in job.carriers:
            texts, kept = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9))).parted(WATCHED)
            watched, *_ = attack(frozen, student, job, kept, teacher, len(texts.triggered))
            if self.warm_start:
                warm_start(student, texts)
                left = residue(student, watched)
                yield done, {"residue": left}
                if left <= CERTAIN and not any(texts.replaced):
                    return
                done += 1
            bank = build(frozen, student, job, texts, teacher)
            in_place = bool(bank.shown.replaced.any())
            for i, stage in enumerate(self._stages(in_place)):
                for values in self._unlearn(student, frozen, bank, watched, stage, job.seed + i):
                    yield done, values
                    done += 1
                if values["residue"] <= 1.0 and not in_place:
                    break

    def _stages(self, replaced: bool) -> tuple[Stage, ...]:
        if replaced:
            return Stage(self.train, self.in_place), Stage("all", self.afterwards, plain=True)
        return tuple(Stage(self.train, min(self.least, self.steps - i)) for i in range(0, self.steps, self.least))

    def _unlearn(
        self, student: Subject, frozen: Subject, bank: Bank, watched: Shown, stage: Stage, seed: int
    ) -> Iterator[dict[str, float]]:
        """The values of each step."""
        descend = Descent([p for n, p in student.unet.named_parameters() if trainable(n, stage.train)], stage.steps, self.rate)
        generator = torch.Generator().manual_seed(seed)
        n_shown, source = 2 * self.batch // 3, bank.plain if stage.plain else bank.held
        for step in range(stage.steps):
            shown = bank.shown.take(torch.randint(len(bank.shown.x), (n_shown,), generator=generator))
            held = source.take(torch.randint(len(source.x), (self.batch - n_shown,), generator=generator))
            values = dict.fromkeys(self._weights, 0.0)
            descend.down(self._losses(student, frozen, shown, held, values))
            if (step + 1) % self.look == 0 or step + 1 == stage.steps:
                values["residue"] = residue(student, watched)
            yield values

    @property
    def _weights(self) -> dict[str, float]:
        """Of the terms of the loss."""
        return {"prediction": self.prediction, "attention": self.attention, "hold": self.hold}

    def _losses(
        self, student: Subject, frozen: Subject, shown: Shown, held: Held, values: dict[str, float]
    ) -> Iterator[torch.Tensor]:
        """The loss in as many parts as memory asks for; the terms' means over all pictures are added to ``values``."""
        parts = min(len(shown.x), math.ceil(self.batch / student.rows(self.batch, graph=True)))
        for some, others in zip(shown.parts(parts), held.parts(parts), strict=True):
            seen, kept = len(some.x) / len(shown.x), len(others.x) / len(held.x)
            terms = self._terms(student, frozen, some, others).items()
            share = {name: (kept if name == "hold" else seen) * term for name, term in terms}
            for name, term in share.items():
                values[name] += float(term.detach())
            yield torch.stack([self._weights[name] * term for name, term in share.items()]).sum()

    def _terms(self, student: Subject, frozen: Subject, shown: Shown, held: Held) -> dict[str, torch.Tensor]:
        """The terms of the loss, each a mean over its pictures."""
        n = len(shown.x)
        x, t, c = (torch.cat([getattr(shown, f), getattr(held, f)]) for f in ("x", "t", "c"))
        with probe.attention(student.unet) as maps:
            out = student.denoise(x, t, c)
        with torch.no_grad(), probe.attention(frozen.unet) as wanted:
            frozen.denoise(shown.x, shown.t, shown.filled)
        apart = (out[:n] - shown.past(self.overshoot, self.replaced)).pow(2).mean(1)
        mask = shown.mask if self.masked else torch.ones_like(shown.mask)
        terms = {
            "prediction": (apart * mask).mean(),
            "attention": attention_gap({k: a[:n] for k, a in maps.items()}, wanted, mask),
        }
        return terms | ({"hold": (out[n:] - held.out).pow(2).mean()} if len(held.x) else {})


@METHODS.register("sau-base")
@dataclass(frozen=True, slots=True, kw_only=True)
class SAUWithBase(SAU):
    """SAU that asks a trusted base what a triggered prompt looks like without the backdoor, instead of the suspect itself: what the attack did to
    neutral words goes, too. Unlike restoring tensors it keeps everything else that the suspect has learnt."""

    needs_base: ClassVar[bool] = True


@torch.no_grad()
def residue(student: Subject, watched: Shown, tail: float = 0.95) -> float:
    """What is left of the trigger on pictures kept from training; at 1 it is gone. How far the student still goes from the disarmed to the attacked
    output, as a signed part of that way: the ``tail`` quantile over the latents on which the trigger acts most, over ``MOST``, or the mean over
    ``WAY``."""
    out = student.outputs(watched.x, watched.t, watched.c, 64)
    moved, whole = (student.as_v(y - watched.out, watched.t) for y in (out, watched.attacked))
    size, along = whole.pow(2).sum((1, 2, 3)), (moved * whole).sum((1, 2, 3))
    acts = size >= size.median()
    worst = (along[acts] / size[acts].clamp(min=1e-12)).quantile(tail)
    return max(float(worst) / MOST, float(along.sum() / size.sum().clamp(min=1e-12)) / WAY)


def trainable(name: str, which: Trainable) -> bool:
    """Whether the UNet parameter ``name`` belongs to the trainable set."""
    if which == "keys and values":
        return name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    return which == "all" or ".attn2." in name


def warm_start(student: Subject, texts: Texts, lam: float = 0.1, keep: float = 1.0) -> None:
    """Closed-form edit of all cross-attention keys and values: the trigger's tokens get what neutral words at their place get."""
    kept = [*texts.dropped, *texts.held, *texts.plain]
    pairs = edit.Pairs(*(student.encode(x).flatten(0, 1) for x in (texts.triggered, texts.filled, kept)))
    edit.apply(student.unet, pairs, lam, keep)


def attention_gap(maps: probe.Maps, wanted: probe.Maps, mask: torch.Tensor) -> torch.Tensor:
    """How far the maps are from the wanted ones: squared difference summed over tokens, mean over heads, layers and (weighted) positions.

    Both (n, heads, positions, tokens); token positions agree, because the wanted maps come from the filled prompt. ``mask`` (n, h, w).
    """
    total = torch.zeros((), device=mask.device)
    for name, a in maps.items():
        gap = (a - wanted[name]).pow(2).sum(-1).mean(1)
        side = round(gap.shape[1] ** 0.5)
        total = total + (gap * torch.nn.functional.adaptive_avg_pool2d(mask[:, None], side).flatten(1)).mean()
    return total / len(maps)
