"""One denoising step from noise that all texts share."""

from __future__ import annotations

import pytest
import torch

from nightlatch.errors import NotScanned
from nightlatch.terms import Role
from nightlatch.text2image.effect.one_step import OneStep


def test_predicted_picture_is_the_samplers_own_first_prediction(tiny):
    """x' = a' x0 + s' eps of the schedule's step, with the step's x0."""
    step, c = OneStep.first(tiny, seed=3, steps=4), tiny.read(["a cat", "a dog"])
    x, times = tiny.noise([3, 3]), tiny.schedule.times(4)
    out = tiny.denoise(x, times[0], c)
    torch.testing.assert_close(step.x0(tiny, c), tiny.at(times[0]).x0(out, x))
    assert not torch.equal(step.x0(tiny, c)[0], step.x0(tiny, c)[1]), (
        "only the texts differ, and they do make a difference"
    )


def test_a_few_at_a_time_is_the_same(tiny_v):
    step, c = OneStep.at_share(tiny_v, seed=0), tiny_v.read(["a cat", "a dog", "a bus"])
    assert step.t == tiny_v.schedule.at_share(1.0)
    torch.testing.assert_close(step.outputs(tiny_v, c, batch=1), step.outputs(tiny_v, c))


def test_numbers_that_are_not_finite_are_not_compared(tiny_v):
    broken = tiny_v.copied(Role.DENOISER)
    next(broken.modules(Role.DENOISER)[0].parameters()).data.fill_(float("nan"))
    step, c = OneStep.first(broken, seed=0), broken.read(["a cat"])
    for look in (step.x0, step.middle):
        with pytest.raises(NotScanned, match="not finite"):
            look(broken, c)
