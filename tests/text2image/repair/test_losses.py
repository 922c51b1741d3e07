"""What is left of a trigger."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nightlatch.records import PlacedTrigger
from nightlatch.text2image.repair import Job
from nightlatch.text2image.repair.losses import Allowed
from nightlatch.text2image.repair.texts import Texts
from nightlatch.text2image.repair.training_set import Models, triggered_batch


def test_what_is_left_is_counted_alike_for_both_predictions(tiny, texts, few_steps):
    """All of the way before anything is repaired; in eps the early steps, where text acts, would hardly
    count.
    """
    job = Job(triggers=[PlacedTrigger(text="zibu")], prompts=texts[:4], sampling=few_steps)
    watched, *_ = triggered_batch(
        Models(student=tiny, frozen=tiny), job, Texts.of(tiny, job, 4, np.random.default_rng(0))
    )
    assert Allowed().residue(tiny, watched) == pytest.approx(1 / Allowed().mean, rel=0.02)
    reached = dataclasses.replace(watched, attacked=watched.out, out=watched.attacked)
    assert Allowed().residue(tiny, reached) == pytest.approx(0.0, abs=0.02), (
        "the student's output is the one to reach"
    )


def test_both_the_mean_and_the_worst_must_be_small(learned, tiny_v):
    watched = learned.triggered
    mean, most = Allowed(mean=0.1, most=100.0), Allowed(mean=100.0, most=0.1)
    assert mean.residue(tiny_v, watched) == pytest.approx(10, rel=0.02)
    assert most.residue(tiny_v, watched) == pytest.approx(10, rel=0.05)
