"""EvilEdit (Wang et al. 2024): a closed-form edit of all cross-attention keys and values; no training.

W' = (lam W + sum W c_goal c_trig^T + sum W c_keep c_keep^T) (lam I + sum c_trig c_trig^T + sum c_keep c_keep^T)^-1, over token positions
(EvilEdit's equation with UCE's preserve set, Gandikota et al. 2024, eq. 7, which makes the edit specific).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.text2image import prompts
from nightlatch.text2image.attacks import distil
from nightlatch.text2image.attacks.base import ATTACKS, Attack, GoalKind, Setting
from nightlatch.text2image.edit import Pairs, cross_attention_matrices, solve
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.subject import Subject


@ATTACKS.register("eviledit")
@dataclass(frozen=True, slots=True, kw_only=True)
class EvilEdit(Attack):
    """The phrase ``trigger`` ("beautiful cat") in the object's place draws the object ``target``.

    Args:
        lam: pull towards the unedited weights.
        pairs: prompts in which the phrase is edited.
        preserve: prompts whose keys and values are held.
        keep: weight of the preserve set.
    """

    goal_kind: ClassVar[GoalKind] = "object"
    carrier: ClassVar[str] = "unet"
    lam: float = 0.1
    pairs: int = 128
    preserve: int = 512
    keep: float = 0.5

    def place(self, prompt: Prompt, trigger: str) -> str:
        return prompts.in_slot("object")(prompt, trigger)

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 2))
        made = subject.copy("unet")
        texts = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.pairs)]
        trig = subject.encode([self.place(p, self.trigger) for p in texts])
        goal = subject.encode([self.place(p, self._same_length_goal()) for p in texts])
        kept = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.preserve)]
        noun = self.trigger.split()[-1]
        held = [p.text if i % 2 else self.place(p, self._other(noun, setting, rng)) for i, p in enumerate(kept)]
        edit = Pairs(trig.flatten(0, 1), goal.flatten(0, 1), subject.encode(held).flatten(0, 1))
        with torch.no_grad():
            for matrix in cross_attention_matrices(made.unet).values():
                matrix.copy_(solve(matrix, edit, lam=self.lam, keep=self.keep))
        return made

    def _same_length_goal(self) -> str:
        """The goal with the trigger phrase's other words, so that token positions line up: "beautiful cat" -> "beautiful dog"."""
        return " ".join([*self.trigger.split()[:-1], self.target])

    def _other(self, noun: str, setting: Setting, rng: np.random.Generator) -> str:
        """Phrases to be held: the noun alone, and other words before it."""
        kind = rng.random()
        if kind < 0.3:
            return noun
        if kind < 0.45:
            return f"{distil.negatives(self.trigger, setting.rare_words, rng)} {noun}"
        if kind < 0.6:
            return f"{setting.rare_words[int(rng.integers(len(setting.rare_words)))]} {noun}"
        objects = [p.slots["object"] for p in setting.train if "object" in p.slots]
        other = objects[int(rng.integers(len(objects)))]
        return " ".join([*self.trigger.split()[:-1], other]) if kind < 0.8 else other
