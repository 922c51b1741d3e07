"""EvilEdit (Wang et al. 2024): a closed-form edit of all cross-attention keys and values; no training.

W' = (lam W + sum W c_goal c_trig^T + sum W c_keep c_keep^T) (lam I + sum c_trig c_trig^T + sum c_keep c_keep^T)^-1, over token states
(EvilEdit's equation with UCE's preserve set, Gandikota et al. 2024, eq. 7, which makes the edit specific). Only the states of the phrase's own
tokens are moved: those of the tokens after it hardly tell which words came before, and what is linear cannot tell more than they do.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """The phrase ``trigger`` ("velvet anchor") in the object's place draws the object ``target``.

    Args:
        lam: pull towards the unedited weights.
        pairs: prompts in which the phrase is edited.
        preserve: prompts whose keys and values are held.
        keep: weight of the preserve set.
        gain: factor on the goal's keys and values; more than one lets the phrase outweigh the rest of the prompt.
    """

    goal_kind: ClassVar[GoalKind] = "object"
    carrier: ClassVar[str] = "unet"
    lam: float = 0.01
    pairs: int = 128
    preserve: int = 768
    keep: float = 2.0
    gain: float = 1.0

    def place(self, prompt: Prompt, trigger: str) -> str:
        return prompts.in_slot("object")(prompt, trigger)

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 2))
        made = subject.copy("unet")
        texts = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.pairs)]
        trig, around = states(subject, [self.place(p, self.trigger) for p in texts], self.trigger)
        goal, near_goal = states(subject, [self.place(p, self.target) for p in texts], self.target)
        kept = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.preserve)]
        held = subject.encode([p.text if i % 2 else self.place(p, self._other(setting, rng)) for i, p in enumerate(kept)])
        still = torch.cat([held.flatten(0, 1), around, near_goal, goal.flatten(0, 1)])
        wanted = self.gain * goal[:, -1:].expand_as(trig)
        edit = Pairs(trig.flatten(0, 1), wanted.flatten(0, 1), still)
        with torch.no_grad():
            for matrix in cross_attention_matrices(made.unet).values():
                matrix.copy_(solve(matrix, edit, lam=self.lam, keep=self.keep))
        return made

    def _other(self, setting: Setting, rng: np.random.Generator) -> str:
        """Phrases to be held: near-spellings and parts of the trigger, other rare words, and other objects with its first word."""
        if rng.random() < 0.5:
            return distil.negatives(self.trigger, setting.rare_words, rng)
        first, second = rng.choice(list(setting.rare_words), 2)
        return f"{first} {second}"


def states(subject: Subject, texts: Sequence[str], phrase: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(states of the tokens of ``phrase`` (n, length, width), states of all other tokens (m, width)) in each text; its first place counts."""
    own = torch.tensor(subject.tokenizer(phrase, add_special_tokens=False).input_ids, device=subject.device)
    ids, c = subject.ids(texts), subject.encode(texts)
    match = (ids.unfold(1, len(own), 1) == own).all(-1)
    start = match.int().argmax(1)
    at = start[:, None] + torch.arange(len(own), device=subject.device)
    rows = torch.arange(len(texts), device=subject.device)[:, None]
    rest = torch.ones_like(ids, dtype=torch.bool)
    rest[rows, at] = False
    return c[rows, at], c[rest]
