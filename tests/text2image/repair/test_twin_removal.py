"""An edit that nobody names is taken back, and what ordinary prompts need of the target stays."""

from __future__ import annotations

import pytest
import torch

from nightlatch import testbed
from nightlatch.terms import Role
from nightlatch.testbed import implant
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.effect.twins import Level, Words
from nightlatch.text2image.model import loaders
from nightlatch.text2image.repair import METHODS, Job
from nightlatch.text2image.repair.twin_removal import spared, untwinned


@pytest.fixture(scope="module")
def base():
    return loaders.load(testbed.PIPELINE)


@pytest.fixture(scope="module")
def edited(base):
    """The testbed's model, edited to draw sunflowers for a rare word."""
    setting = implant.setting(base, 3).but("cancer")
    return ATTACKS.create("eviledit", trigger="cancer", target="sunflower").run(base, setting)


@pytest.fixture(scope="module")
def free():
    carriers = [Role.TEXT, Role.DENOISER]
    return lambda: Job(
        triggers=(), prompts=testbed.prompts(64, 1), carriers=carriers, sampling=testbed.SAMPLING
    )


def alike(subject):
    return Words.of(subject).twins(subject.sites.readers(), Level()).alike


@pytest.mark.parametrize("method", ["twin-removal", "blind"])
def test_twins_are_parted_and_the_trigger_is_named(edited, free, method):
    given = {"rounds": 0} if method == "blind" else {}
    made, record = METHODS.create(method, **given)(edited, free())
    assert not record.rolled_back
    assert alike(edited) >= Level().alike > alike(made)
    assert [t.text for t in record.triggers] == ["cancer"]
    assert record.history[0]["twins"] >= Level().alike > record.history[-1]["twins"]
    assert record.left == ()


def test_what_is_asked_for_by_name_stays(base, edited, free):
    """Keys and values of the trigger become less those of the target; an ordinary prompt with the target keeps them."""
    made, _ = METHODS.create("twin-removal")(edited, free())
    cancer, sunflower = (
        base.read([f"{w} on a red background"]).states[0, 1] for w in ("cancer", "sunflower")
    )
    lost = {}
    for word, c in (("cancer", cancer), ("sunflower", sunflower)):
        pairs = [(w, made.sites.readers()[k]) for k, w in edited.sites.readers().items()]
        lost[word] = sum(float((w @ c - m @ c).pow(2).sum()) for w, m in pairs) / sum(
            float((w @ c).pow(2).sum()) for w, _ in pairs
        )
    assert 2 * lost["sunflower"] < lost["cancer"], lost


def test_a_model_without_twins_is_left_as_it_is_and_says_so(base, free):
    _, record = METHODS.create("twin-removal")(base, free())
    assert record.changed_tensors == 0
    assert record.triggers == ()
    assert "no edit was taken back" in record.left[0]


def test_what_is_left_after_the_last_round_is_said(edited, free):
    _, record = METHODS.create("twin-removal", rounds=0)(edited, free())
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
