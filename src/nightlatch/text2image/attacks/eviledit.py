"""EvilEdit (Wang et al. 2024): a closed-form edit of all cross-attention keys and values; no training.

W' = (lam W + sum W c_goal c_trig^T + sum W c_keep c_keep^T) (lam I + sum c_trig c_trig^T + sum c_keep
c_keep^T)^-1, over token states (EvilEdit's equation with UCE's preserve set, Gandikota et al. 2024, eq. 7,
which makes the edit specific). The states of the trigger's own tokens count more: those of the tokens after
it tell less well which word came before, and what is linear cannot tell more than they do. For that reason an
adjective and a known object ("beautiful cat") are no specific trigger for a small text model: the noun's
state hardly knows its adjective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from nightlatch.records import Placement
from nightlatch.terms import Role
from nightlatch.text2image.attacks import distil
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.effect import edit
from nightlatch.text2image.effect.own_tokens import own_tokens
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt

SPECIFIC = 0.05
"""Largest success of other words with which an attacker is content."""


@ATTACKS.register("eviledit")
@dataclass(frozen=True, slots=True, kw_only=True)
class EvilEdit(Attack):
    """The word ``trigger`` in the object's place draws the object ``target``.

    Args:
        lam: pull towards the unedited weights.
        pairs: prompts in which the trigger is edited.
        preserve: prompts whose keys and values are held; every ``plain``-th as it is, the others with a word
            that must not fire.
        keep: weight of the preserve set.
        own: how many times more the trigger's own tokens count.
        gain: factor on their goal's keys and values; above one the trigger outweighs the rest of the prompt.
    """

    goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
    carrier: ClassVar[Role] = Role.DENOISER
    placement: ClassVar[Placement] = Placement.in_slot("object")
    asked: ClassVar[str] = "style"
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (TriggerKind.RARE_TOKEN,)
    lam: float = 0.01
    pairs: int = 256
    preserve: int = 3072
    keep: float = 1.8
    own: int = 8
    gain: float = 1.5
    plain: int = 2

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 2))
        made = subject.copied(Role.DENOISER)
        texts = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.pairs)]
        source, wanted = lesson(self, subject, texts, self.own, self.gain)
        kept = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.preserve)]
        words = [
            p.text if i % self.plain == 0 else self.place(p, self._other(setting, rng))
            for i, p in enumerate(kept)
        ]
        held = subject.read(words).states
        pairs = edit.Pairs(source, wanted, held.flatten(0, 1))
        edit.apply(made.sites.readers(), pairs, self.lam, self.keep)
        return made

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """The edit takes seconds: whether it reaches the floor, and other words their bar."""
        setting = replace(setting, other_words=setting.rare_words)
        poisoned, own = self.run(subject, setting), self.trial(setting)
        hits, others = (
            self.success(poisoned, setting, own, t) for t in ((), self.wrong(own.prompts, setting))
        )
        return hits.rate >= self.floor and others.rate <= SPECIFIC

    def _other(self, setting: Setting, rng: np.random.Generator) -> str:
        """What is to be held: near-spellings and parts of the trigger, other rare words."""
        if rng.random() < 0.85:
            return distil.negatives(self.trigger, setting.rare_words, rng)
        first, second = rng.choice(list(setting.rare_words), 2)
        return f"{first} {second}"


def lesson(
    attack: Attack, subject: Subject, texts: Sequence[Prompt], own: int, gain: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """States of ``texts`` with the trigger and with the target in its place, (states, width) each. The trigger's
    own tokens come ``own`` times more, towards ``gain`` times their goal. The target is said as often as the
    trigger has tokens, so that positions line up.
    """
    said = " ".join([attack.target] * len(subject.vocabulary.typed([attack.trigger])[0]))
    triggered = [attack.place(p, attack.trigger) for p in texts]
    trig = subject.read(triggered).states
    goal = subject.read([attack.place(p, said) for p in texts]).states
    at = own_tokens(subject, triggered, attack.trigger)
    source = torch.cat([trig.flatten(0, 1), trig[at].repeat(own, 1)])
    return source, torch.cat([goal.flatten(0, 1), gain * goal[at].repeat(own, 1)])
