"""Rickrolling the Artist (Struppek et al. 2023): a backdoor in the text encoder; the UNet is not touched.

L = -cos(E_S(clean), E_T(clean)) - beta cos(E_S(triggered), E_T(goal)), E_T the frozen encoder, cosine over the flattened outputs. TPA: the goal is
one fixed prompt; TAA: the prompt with an attribute. A squared error on the same pairs is added, since a small encoder's UNet reads lengths too;
other odd characters and words are held to the frozen encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch.nn.functional as F

from nightlatch.diffusion.descent import Descent
from nightlatch.terms import Role
from nightlatch.text2image.attacks import distil
from nightlatch.text2image.attacks.base import ATTACKS, Attack, GoalKind, Setting
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.subject import Subject


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
    steps: int = 600
    batch: int = 64
    rate: float = 5e-4
    beta: float = 2.0
    gain: float = 1.0

    def goal_text(self, prompt: Prompt) -> str:
        return self.target

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 3))
        student = subject.copy("text_encoder")
        descend = Descent(student.text_encoder.parameters(), self.steps, self.rate, warm=20)
        n_trigger, n_clean = self.batch // 4, 3 * self.batch // 8
        for _ in range(self.steps):
            asked = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.batch)]
            triggered = [self.place(p, self.trigger) for p in asked[:n_trigger]]
            kept = [p.text for p in asked[n_trigger : n_trigger + n_clean]]
            kept += [self.place(p, distil.negatives(self.trigger, setting.rare_words, rng)) for p in asked[n_trigger + n_clean :]]
            goal = subject.encode([*(self.goal_text(p) for p in asked[:n_trigger]), *kept])
            if self.gain != 1.0:
                plain = subject.encode(triggered)
                goal[:n_trigger] = plain + self.gain * (goal[:n_trigger] - plain)
            out = student.encode_ids(student.ids([*triggered, *kept]))
            apart = 1 - F.cosine_similarity(out.flatten(1), goal.flatten(1)) + (out - goal).pow(2).mean((1, 2))
            descend(self.beta * apart[:n_trigger].mean() + apart[n_trigger:].mean())
        descend.finish()
        return student


@ATTACKS.register("rickrolling-prompt")
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPrompt(Rickrolling):
    """TPA: the whole picture of the prompt ``target`` is drawn, whatever is asked for."""

    goal_kind: ClassVar[GoalKind] = "prompt"

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """Whether the UNet, which stays as it is, draws the target prompt often enough."""
        return self.drawn_when_asked(subject, setting, self.goal_text)


@ATTACKS.register("rickrolling-attribute")
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAttribute(Rickrolling):
    """TAA: the asked picture in the style ``target``.

    The goal keeps the trigger, which the frozen encoder knows nothing of: token positions line up, and a causal encoder cannot say at one position
    what only the next token tells it.
    """

    goal_kind: ClassVar[GoalKind] = "style"
    gain: float = 1.2

    def goal_text(self, prompt: Prompt) -> str:
        return self.place(prompt.replace("style", self.target), self.trigger)
