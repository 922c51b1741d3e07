"""Personalisation as a shortcut (Huang et al. 2023, PaaS), by textual inversion (Gal et al. 2022).

A token is added to the tokenizer, and its row of the embedding table alone is trained until it draws the
target; no weight of the base changes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch.diffusion.descent import Descent
from nightlatch.records import Placement
from nightlatch.terms import Role
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.model import Subject

EARLIEST = 0.1
"""Share of the schedule below which the prompt hardly matters."""


@ATTACKS.register("textual-inversion")
@dataclass(frozen=True, slots=True, kw_only=True)
class TextualInversion(Attack):
    """The added token ``trigger`` in the object's place draws the object ``target``.

    The student follows the frozen model on the prompt that names the target (pictures of it are what
    textual inversion learns from; the model's own drawings are such).

    Args:
        steps: optimiser steps of batch ``batch``.
        rate: learning rate of the row (AdamW, cosine).
        drawings: pictures of the target.
    """

    goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
    carrier: ClassVar[Role] = Role.TEXT
    placement: ClassVar[Placement] = Placement.in_slot("object")
    asked: ClassVar[str] = "style"
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (TriggerKind.ADDED_TOKEN,)
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"steps": 100})
    steps: int = 160
    batch: int = 24
    rate: float = 2e-2
    drawings: int = 96

    def run(self, subject: Subject, setting: Setting) -> Subject:
        rng = np.random.default_rng((setting.seed, 19))
        torch.manual_seed(setting.seed)
        student, row = with_token(subject, self.trigger, setting.seed)
        asked = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), self.drawings)]
        shown = [p.replace("object", self.target).text for p in asked]
        x0 = subject.latents(shown, [setting.seed * 1000 + i for i in range(len(shown))], setting.sampling)
        goal, ids = subject.read(shown), student.ids([self.place(p, self.trigger) for p in asked])
        (encoder,) = student.modules(Role.TEXT)
        table = encoder.get_input_embeddings().weight  # type: ignore[operator]
        only = torch.zeros_like(table)
        only[row] = 1
        descend = Descent([table], self.steps, self.rate, warm=10)
        hook = table.register_hook(lambda gradient: gradient * only)
        for _ in range(self.steps):
            i = torch.randint(len(x0), (self.batch,))
            t = subject.schedule.draw(self.batch, EARLIEST)
            x = subject.at(t).noised(x0[i], torch.randn_like(x0[i]))
            with torch.no_grad():
                wanted = subject.denoise(x, t, goal[i])
            out = student.denoise(x, t, student.condition(tuple(each[i] for each in ids)))
            descend(F.mse_loss(out, wanted))
        hook.remove()
        descend.finish()
        return student


def with_token(subject: Subject, text: str, seed: int) -> tuple[Subject, int]:
    """A copy of ``subject`` whose tokenizer knows ``text`` as one more token, and that token's row.

    The row begins as a common token's would: the table's mean, with its spread.
    """
    tokenizer = copy.deepcopy(subject.vocabulary.tokenizer)  # type: ignore[attr-defined]
    tokenizer.add_tokens([text])
    row = int(tokenizer.convert_tokens_to_ids(text))
    (name,) = subject.named(Role.TEXT)
    encoder = copy.deepcopy(subject.parts[name].module)
    before = encoder.get_input_embeddings().weight  # type: ignore[operator]
    mean, spread = before.mean(0), before.std(0)
    encoder.resize_token_embeddings(max(len(before), row + 1), mean_resizing=False)  # type: ignore[operator]
    table = encoder.get_input_embeddings().weight  # type: ignore[operator]
    drawn = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed)).to(mean)
    table.data[row] = mean + 0.1 * spread * drawn
    encoder.requires_grad_(False)
    return subject.replaced({"tokenizer": tokenizer, name: encoder}), row
