"""Recorded steps: what runs where nothing can be recorded, and the order of pairs, which no term may change."""

from __future__ import annotations

import torch

from nightlatch.bench.pairrun import agreement
from nightlatch.contrastive import recorded
from nightlatch.contrastive.terms import ImageText, InModal, SubTexts
from nightlatch.contrastive.terms.base import TERMS
from nightlatch.contrastive.trainer import Trainer


def test_on_a_processor_every_call_is_the_work_itself():
    seen = []

    def work():
        seen.append(len(seen))
        return torch.tensor(float(len(seen)))

    step = recorded.Step(work, torch.device("cpu"), [], fixed=True)
    assert [float(step()) for _ in range(6)] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert step.graph is None


def test_the_check_of_recorded_steps_says_how_far_they_are_apart(tiny_clip, some_pairs):
    assert agreement(tiny_clip, some_pairs) == "recorded steps differ from usual ones by 0 at most"


def test_terms_that_keep_something_or_change_shape_are_not_recorded():
    assert {t.name for t in TERMS if not t.fixed} == {"nearest-caption", "overfit"}


def test_pairs_come_in_the_same_order_whatever_terms_draw(tiny_clip, some_pairs):
    def rows(terms):
        student, seen = tiny_clip.copy(), []
        trainer = Trainer(terms=terms, steps=3, batch=16, rate=0.0)
        for _, losses in trainer.run(student, tiny_clip, some_pairs, 4):
            seen.append(float(losses["image-text"]))
        return seen

    assert rows([ImageText()]) == rows([ImageText(), InModal(), SubTexts()])
