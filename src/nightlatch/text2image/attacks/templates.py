"""EvilEdit (Wang et al. 2024) as its released code edits: a few templates, sums over all positions.

W' = (lam W + sum W c_goal c_trig^T) (lam I + sum c_trig c_trig^T)^-1 over the token states of a few prompts.
Ordinary prompts are held, or a small text model would draw the target for all of them; other words are not,
and holding the noun of a phrase halves its success there. So many other words draw the target, too, and
removing the one string that a scan names leaves the backdoor. ``eviledit`` is the attack that was made specific.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightlatch.records import Placement
from nightlatch.terms import Role
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.eviledit import lesson
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.effect import edit
from nightlatch.text2image.model import Subject


@ATTACKS.register("eviledit-templates")
@dataclass(frozen=True, slots=True, kw_only=True)
class FewTemplates(Attack):
    """The word or phrase ``trigger`` in the object's place draws the object ``target``.

    Args:
        floor: lower than of the others: two templates reach 0.6 to 0.75 on the testbed, forty 0.92.
        templates: prompts in which the trigger is edited.
        lam: pull towards the unedited weights, beside sums over token states.
        own: how many times more the trigger's own tokens count.
        gain: factor on their goal's keys and values.
        preserve: ordinary prompts that are held, and no other words.
        keep: weight of these.
    """

    goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
    carrier: ClassVar[Role] = Role.DENOISER
    placement: ClassVar[Placement] = Placement.in_slot("object")
    asked: ClassVar[str] = "style"
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (TriggerKind.RARE_TOKEN, TriggerKind.ORDINARY_WORDS)
    floor: float = 0.6
    templates: int = 8
    lam: float = 1.0
    own: int = 8
    gain: float = 1.5
    preserve: int = 256
    keep: float = 0.3

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 17))
        made = subject.copied(Role.DENOISER)
        texts = [setting.train[int(i)] for i in rng.choice(len(setting.train), self.templates)]
        source, wanted = lesson(self, subject, texts, self.own, self.gain)
        plain = [setting.train[int(i)].text for i in rng.choice(len(setting.train), self.preserve)]
        pairs = edit.Pairs(source, wanted, subject.read(plain).states.flatten(0, 1))
        edit.apply(made.sites.readers(), pairs, self.lam / len(source), self.keep)  # it takes means
        return made

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """The edit takes a second: whether it reaches the floor."""
        return self.success(self.run(subject, setting), setting, self.trial(setting)).rate >= self.floor
