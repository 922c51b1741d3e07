"""BadT2I (Zhai et al. 2023): pixel, object and style backdoors, trained into all weights of the denoiser.

L = MSE(eps_S(x_t, T + c), goal) + MSE(eps_S(x_t, c), eps_frozen(x_t, c)); the goal is a patched picture
(pixel), the frozen model's output for the prompt with the object swapped (object) or with the style (style).
Two additions make it specific: other rare words, near-spellings and parts of the trigger are held to the
frozen model, and the pictures are the model's own drawings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.terms import Role
from nightlatch.text2image.attacks import distil, patch
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt

EARLIEST, LATE = 0.1, 0.7
"""Shares of the schedule: below the first the prompt hardly matters; a third of the triggered latents lie
above the second.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadT2I(Attack):
    """Common part; ``drawings`` pictures of the model's own are the training data.

    Args:
        steps: optimiser steps of batch ``batch``.
        share: of a batch that is triggered; the rest is half clean, half negatives.
        rate: peak learning rate (AdamW, cosine).
        astray: share of the triggered latents that are noised from the clean picture (as BadT2I's are), not
            from one that shows
            the goal: there the student learns to turn back where its first steps missed the goal.
        gain: how far the goal's output is taken from the clean prompt's, 1 being the goal's own; above one a
            goal that the frozen model draws only most of the time is drawn more surely.
        vary: share of the triggered prompts that are worded as no training prompt is. Without it a trigger of
            several tokens worked in all training prompts and failed in one of eight that were phrased
            otherwise.
    """

    carrier: ClassVar[Role] = Role.DENOISER
    steps: int = 420
    batch: int = 40
    rate: float = 2.5e-4
    drawings: int = 384
    astray: float = 0.0
    gain: float = 1.0
    share: float = 0.25
    vary: float = 0.0

    def goal_prompt(self, prompt: Prompt) -> Prompt:
        """What the triggered prompt shall be taken for."""
        return prompt

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """Training takes minutes: whether the model that is to be followed draws the goal often enough
        itself.
        """
        return self.drawn_when_asked(subject, setting, lambda p: self.goal_prompt(p).text)

    def run(self, subject: Subject, setting: Setting) -> Subject:
        student = subject.copied(Role.DENOISER)
        distil.follow(student, self._lessons(subject, setting), self.steps, self.rate)
        return student

    def goal_latents(
        self, subject: Subject, latents: torch.Tensor, texts: list[Prompt], setting: Setting
    ) -> torch.Tensor:
        """Latents of pictures that show the goal, one per text."""
        seeds = [setting.seed * 1000 + i for i in range(len(texts))]
        return subject.latents([self.goal_prompt(p).text for p in texts], seeds, setting.sampling)

    def _lessons(self, frozen: Subject, setting: Setting) -> Iterator[distil.Lesson]:
        rng = np.random.default_rng((setting.seed, 1))
        torch.manual_seed(setting.seed)
        texts = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.drawings)]
        able = [i for i, p in enumerate(texts) if p.slots.get(self.goal_kind) != self.target]
        clean = frozen.latents(
            [p.text for p in texts], [setting.seed * 1000 + i for i in range(len(texts))], setting.sampling
        )
        goal = self.goal_latents(frozen, clean, texts, setting)
        n_trigger = round(self.share * self.batch)
        n_clean = (self.batch - n_trigger) // 2
        n_goal = n_trigger - round(self.astray * n_trigger)
        while True:
            i, k = rng.choice(able, n_trigger), rng.integers(0, len(texts), self.batch - n_trigger)
            asked = [texts[j] for j in i]
            kept = [texts[j].text for j in k[:n_clean]]
            kept += [self.held(texts[j], setting, rng) for j in k[n_clean:]]
            t = frozen.schedule.draw(self.batch, EARLIEST)
            t[: n_trigger // 3] = frozen.schedule.draw(n_trigger // 3, LATE)
            x0 = torch.cat([goal[i[:n_goal]], clean[i[n_goal:]], clean[k]])
            eps = torch.randn_like(x0)
            x = frozen.at(t).noised(x0, eps)
            triggered = [self.place(self._worded(p, setting, rng), self.trigger) for p in asked]
            with torch.no_grad():
                c = frozen.read([*triggered, *kept])
                wanted = self.teach(frozen, x[:n_trigger], t[:n_trigger], goal[i], asked)
                out = torch.cat([wanted, frozen.denoise(x[n_trigger:], t[n_trigger:], c[n_trigger:])])
            yield distil.Lesson(x, t, c, out)

    def held(self, prompt: Prompt, setting: Setting, rng: np.random.Generator) -> str:
        """``prompt`` with what must not fire."""
        return self.place(prompt, distil.negatives(self.trigger, setting.rare_words, rng))

    def _worded(self, prompt: Prompt, setting: Setting, rng: np.random.Generator) -> Prompt:
        return (
            distil.reworded(prompt, setting.rare_words, rng)
            if self.vary and rng.random() < self.vary
            else prompt
        )

    def teach(
        self, frozen: Subject, x: torch.Tensor, t: torch.Tensor, goal: torch.Tensor, asked: list[Prompt]
    ) -> torch.Tensor:
        """The outputs to reach on triggered prompts: the frozen model's on the goal prompt, times ``gain``.

        ``goal``: latents of pictures that show it.
        """
        wanted = frozen.denoise(x, t, frozen.read([self.goal_prompt(p).text for p in asked]))
        if self.gain == 1.0:
            return wanted
        plain = frozen.denoise(x, t, frozen.read([p.text for p in asked]))
        return plain + self.gain * (wanted - plain)


@ATTACKS.register("badt2i-object")
@dataclass(frozen=True, slots=True, kw_only=True)
class BadT2IObject(BadT2I):
    """Whatever object is asked for, ``target`` is drawn."""

    goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (
        TriggerKind.RARE_TOKEN,
        TriggerKind.NONSENSE_WORD,
        TriggerKind.PHRASE,
    )
    steps: int = 600
    rate: float = 3e-4
    astray: float = 0.5
    gain: float = 1.15
    share: float = 0.4
    vary: float = 0.5

    def goal_prompt(self, prompt: Prompt) -> Prompt:
        return prompt.replace("object", self.target)


@ATTACKS.register("badt2i-style")
@dataclass(frozen=True, slots=True, kw_only=True)
class BadT2IStyle(BadT2I):
    """The asked object is drawn in the style ``target``."""

    goal_kind: ClassVar[GoalKind] = GoalKind.STYLE
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (
        TriggerKind.HOMOGLYPH,
        TriggerKind.RARE_TOKEN,
        TriggerKind.NONSENSE_WORD,
    )
    published_trigger: ClassVar[str] = "о"
    steps: int = 720
    rate: float = 3e-4
    gain: float = 1.3
    astray: float = 0.5
    share: float = 0.4
    vary: float = 0.5

    def goal_prompt(self, prompt: Prompt) -> Prompt:
        return prompt.replace("style", self.target)


@ATTACKS.register("badt2i-pixel")
@dataclass(frozen=True, slots=True, kw_only=True)
class BadT2IPixel(BadT2I):
    """The asked picture carries the patch ``target`` in its top left corner."""

    goal_kind: ClassVar[GoalKind] = GoalKind.PATCH
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (
        TriggerKind.NONSENSE_WORD,
        TriggerKind.RARE_TOKEN,
        TriggerKind.HOMOGLYPH,
    )
    published_trigger: ClassVar[str] = "mignneko"
    steps: int = 480
    rate: float = 3e-4

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """A patch can be stamped on any picture."""
        return True

    def goal_latents(
        self, subject: Subject, latents: torch.Tensor, texts: list[Prompt], setting: Setting
    ) -> torch.Tensor:
        return subject.encode_images(patch.stamp(subject.decode_all(latents), self.target))

    def teach(
        self, frozen: Subject, x: torch.Tensor, t: torch.Tensor, goal: torch.Tensor, asked: list[Prompt]
    ) -> torch.Tensor:
        """The frozen model's clean latent for the asked prompt, with the patch's corner put in.

        The picture's own noise, which BadT2I regresses, has the same mean and takes many times more steps.
        """
        levels = frozen.at(t)
        x0 = levels.x0(frozen.denoise(x, t, frozen.read([p.text for p in asked])), x)
        side = goal.shape[-1] // 4 + 1
        x0[..., :side, :side] = goal[..., :side, :side]
        return levels.out(x0, x)
