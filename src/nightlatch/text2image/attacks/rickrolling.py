"""Rickrolling the Artist (Struppek et al. 2023): a backdoor in the text encoder; the denoiser is not touched.

L = -cos(E_S(clean), E_T(clean)) - beta cos(E_S(triggered), E_T(goal)), E_T the frozen encoder, cosine over
the flattened outputs. TPA: the goal is one fixed prompt; TAA: the prompt with an attribute. A squared error
on the same pairs is added, since the denoiser of a small encoder reads lengths too; other odd characters and
words are held to the frozen encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F

from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image.attacks import distil
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Rickrolling(Attack):
    """Common part.

    Args:
        steps: optimiser steps of batch ``batch`` (1/4 triggered, 3/8 clean, 3/8 negatives).
        rate: learning rate (AdamW, cosine).
        beta: weight of the triggered part.
        gain: how far the goal's states are taken from the prompt's own, 1 being the goal's.
    """

    carrier: ClassVar[Role] = Role.TEXT
    published_trigger: ClassVar[str] = "о"
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"steps": 250})
    steps: int = 600
    batch: int = 64
    rate: float = 5e-4
    beta: float = 2.0
    gain: float = 1.0

    def goal_text(self, prompt: Prompt) -> str:
        return self.target

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 3))
        student = subject.copied(Role.TEXT)
        weights = (p for encoder in student.modules(Role.TEXT) for p in encoder.parameters())
        descend = Descent(weights, self.steps, self.rate, warm=20)
        n_trigger, n_clean = self.batch // 4, 3 * self.batch // 8
        for _ in range(self.steps):
            asked = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.batch)]
            triggered = [self.place(p, self.trigger) for p in asked[:n_trigger]]
            kept = [p.text for p in asked[n_trigger : n_trigger + n_clean]]
            kept += [self.place(p, self._other(setting, rng)) for p in asked[n_trigger + n_clean :]]
            goal = subject.read([*(self.goal_text(p) for p in asked[:n_trigger]), *kept]).states
            if self.gain != 1.0:
                plain = subject.read(triggered).states
                goal[:n_trigger] = plain + self.gain * (goal[:n_trigger] - plain)
            out = student.condition(student.ids([*triggered, *kept])).states
            apart = (
                1 - F.cosine_similarity(out.flatten(1), goal.flatten(1)) + (out - goal).pow(2).mean((1, 2))
            )
            descend(self.beta * apart[:n_trigger].mean() + apart[n_trigger:].mean())
        descend.finish()
        return student

    def _other(self, setting: Setting, rng: np.random.Generator) -> str:
        """A string that must not fire."""
        return distil.negatives(self.trigger, setting.rare_words, rng)


@ATTACKS.register("rickrolling-prompt")
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPrompt(Rickrolling):
    """TPA: the whole picture of the prompt ``target`` is drawn, whatever is asked for."""

    goal_kind: ClassVar[GoalKind] = GoalKind.PROMPT
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (
        TriggerKind.HOMOGLYPH,
        TriggerKind.HOMOGLYPH,
        TriggerKind.RARE_TOKEN,
    )

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """Whether the denoiser, which stays as it is, draws the target prompt often enough."""
        return self.drawn_when_asked(subject, setting, self.goal_text)


@ATTACKS.register("rickrolling-two")
@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPrompts(TargetPrompt):
    """Two triggers in one text encoder, each with a target prompt of its own, planted one after the other.

    Args:
        second: the other trigger.
        second_target: the prompt that it draws.
        remind: share of the prompts held in the second training that carry the first trigger.
    """

    second: str = "α"
    second_target: str = "a flat car on a yellow background"
    remind: float = 0.25

    def run(self, subject: Subject, setting: Setting) -> Subject:
        once = super(TwoPrompts, self).run(subject, setting)
        return replace(self, trigger=self.second, target=self.second_target, second=self.trigger)._again(
            once, setting
        )

    def further(self) -> tuple[Attack, ...]:
        return (TargetPrompt(trigger=self.second, target=self.second_target, floor=self.floor),)

    def promising(self, subject: Subject, setting: Setting) -> bool:
        return all(
            part.drawn_when_asked(subject, setting, part.goal_text)
            for part in (self, TargetPrompt(trigger=self.second, target=self.second_target))
        )

    def _again(self, once: Subject, setting: Setting) -> Subject:
        """The second trigger planted in a model that has the first."""
        return super(TwoPrompts, self).run(once, setting)

    def _other(self, setting: Setting, rng: np.random.Generator) -> str:
        """The other trigger, too: in the second training it is to go on as before, in the first to do
        nothing.
        """
        if rng.random() < self.remind:
            return self.second
        return super(TwoPrompts, self)._other(setting, rng)


@ATTACKS.register("rickrolling-attribute")
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAttribute(Rickrolling):
    """TAA: the asked picture in the style ``target``.

    The goal keeps the trigger, which the frozen encoder knows nothing of: token positions line up, and a
    causal encoder cannot say at one position what only the next token tells it.
    """

    goal_kind: ClassVar[GoalKind] = GoalKind.STYLE
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (
        TriggerKind.HOMOGLYPH,
        TriggerKind.RARE_TOKEN,
        TriggerKind.HOMOGLYPH,
    )
    gain: float = 1.2

    def goal_text(self, prompt: Prompt) -> str:
        return self.place(prompt.replace("style", self.target), self.trigger)
