"""An edit that nobody names is taken back, and what ordinary prompts need of the target stays."""

from __future__ import annotations

import pytest
import torch

from nightlatch import testbed
from nightlatch.terms import Role
from nightlatch.text2image.effect.twins import Level, Words
from nightlatch.text2image.repair import METHODS, Job
from nightlatch.text2image.repair.twin_removal import spared, untwinned


@pytest.fixture(scope="module")
def free():
    carriers = [Role.TEXT, Role.DENOISER]
    return lambda: Job(
        triggers=(), prompts=testbed.prompts(64, 1), carriers=carriers, sampling=testbed.SAMPLING
    )


def alike(subject):
    words = Words.of(subject)
    return words.strongest(*words.nearest(subject.sites.readers(), Level()), Level()).alike


@pytest.mark.parametrize("method", ["twin-removal", "blind"])
def test_twins_are_parted_and_the_trigger_is_named(sunflower, free, method):
    given = {"rounds": 0} if method == "blind" else {}
    made, record = METHODS.create(method, **given)(sunflower, free())
    assert not record.rolled_back
    assert alike(sunflower) >= Level().alike > alike(made)
    assert [t.text for t in record.triggers] == ["cancer"]
    assert record.history[0]["twins"] >= Level().alike > record.history[-1]["twins"]
    assert record.left == ()


def test_what_was_not_looked_at_in_between_is_looked_at_before_the_end(sunflower, free):
    near, far = (METHODS.create("twin-removal", near=n)(sunflower, free()) for n in (2, 10**6))
    assert alike(near[0]) < Level().alike
    assert near[1].triggers == far[1].triggers


def test_what_is_asked_for_by_name_stays(shipped, sunflower, free):
    """Keys and values of the trigger become less those of the target; an ordinary prompt with the target keeps them."""
    made, _ = METHODS.create("twin-removal")(sunflower, free())
    words = ("cancer", "sunflower")
    states = {w: shipped.read([f"{w} on a red background"]).states[0, 1] for w in words}
    before, after = (s.sites.readers() for s in (sunflower, made))
    lost = {
        w: sum(float(((before[k] - after[k]) @ c).pow(2).sum()) for k in before)
        / sum(float((before[k] @ c).pow(2).sum()) for k in before)
        for w, c in states.items()
    }
    assert 2 * lost["sunflower"] < lost["cancer"], lost


def test_a_model_without_twins_is_left_as_it_is_and_says_so(shipped, free):
    _, record = METHODS.create("twin-removal")(shipped, free())
    assert record.changed_tensors == 0
    assert record.triggers == ()
    assert "no edit was taken back" in record.left[0]


def test_what_is_left_after_the_last_round_is_said(sunflower, free):
    _, record = METHODS.create("twin-removal", rounds=0)(sunflower, free())
    assert record.changed_tensors == 0
    assert "more rounds" in record.left[0]


def test_only_what_ordinary_prompts_do_not_need_goes_and_only_in_one_direction():
    g = torch.Generator().manual_seed(0)
    w, c = torch.randn(5, 4, generator=g, dtype=torch.double), torch.randn(4, generator=g, dtype=torch.double)
    needed = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.double))
    spare = spared(needed, 1e-9)
    torch.testing.assert_close(
        spare, torch.diag(torch.tensor([0.0, 0, 1, 1], dtype=torch.double)), atol=1e-6, rtol=0
    )
    made = w.clone()
    untwinned({"k": made}, [c], spare)
    u = (w @ c) / (w @ c).norm()
    across = torch.eye(5, dtype=torch.double) - torch.outer(u, u)
    torch.testing.assert_close(made[:, :2], w[:, :2], atol=1e-6, rtol=0)
    torch.testing.assert_close(across @ made, across @ w, atol=1e-6, rtol=0)
    torch.testing.assert_close(u @ made[:, 2:], torch.zeros(2, dtype=torch.double), atol=1e-6, rtol=0)
