"""Every registered attack: it changes no more than it says, leaves what it was given alone, and is refused
where it does not work.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from nightlatch.classifier.attacks import ATTACKS, Setting
from nightlatch.classifier.attacks.base import as_bytes, choose, triggered
from nightlatch.classifier.attacks.static import BadNets, Blended, Sig
from nightlatch.classifier.attacks.warp import field, warped
from nightlatch.classifier.subject import as_float
from nightlatch.classifier.vision import ascend
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.registry import part_of

QUICK: dict[str, Any] = {"steps": 3, "train": 20, "batch": 32}


def quick(part: type, **given: Any) -> Any:
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{**{k: v for k, v in QUICK.items() if k in known}, **given})


@pytest.fixture(scope="module")
def short(setting: Setting) -> Setting:
    return dataclasses.replace(
        setting, train=setting.train.at(slice(0, 128)), recipe=dataclasses.replace(setting.recipe, epochs=1)
    )


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_attack_poisons_what_it_says_and_leaves_its_input_alone(part, short):
    before, weights = short.train.pictures.clone(), short.clean.fingerprint
    attack = quick(part)
    planted = attack.run(short)
    assert torch.equal(short.train.pictures, before)
    assert short.clean.fingerprint == weights
    n = len(short.train)
    assert int(planted.poisoned.sum()) <= round(0.1 * n)
    rows = planted.poisoned
    assert (planted.data.labels[rows] == attack.target).all()
    if attack.clean_label:
        assert torch.equal(planted.data.labels, short.train.labels)
    changed = triggered(planted.apply, short.test.pictures[:20])
    assert changed.shape == (20, 3, 16, 16)
    assert changed.dtype == torch.uint8
    assert torch.equal(changed, triggered(planted.apply, short.test.pictures[:20]))
    record = attack.measure(short, planted, 0.0)
    assert record.attack == part_of(attack)
    assert record.success.n == len(attack.candidates(short.test))


@pytest.mark.parametrize("part", [BadNets, Sig])
def test_attack_that_does_not_work_is_refused(part, short):
    with pytest.raises(AttackFailed, match="below its floor"):
        part(floor=1.01)(short)


def test_attack_that_costs_accuracy_is_refused(short):
    class Careless(BadNets):
        def run(self, setting):
            planted = super().run(setting)
            planted.subject.module.classifier.weight.data.zero_()
            planted.subject.module.classifier.bias.data[:] = torch.tensor([9.0, 0.0, 0.0])
            return planted

    with pytest.raises(AttackFailed, match="of clean accuracy"):
        Careless()(short)


@pytest.mark.parametrize("given", [{"share": 0.2}, {"share": 0.0}, {"target": 7}])
def test_attack_out_of_range_is_refused(given, short):
    with pytest.raises(UsageError):
        BadNets(**given)(short)


def test_poison_is_chosen_from_the_target_where_labels_stay():
    labels = torch.tensor([0] * 10 + [1] * 90)
    dirty, kept = choose(labels, 0, 0.1, 0.0, 0), choose(labels, 0, 0.1, 0.8, 0)
    assert (labels[dirty] == 1).all() and len(dirty) == 10
    assert (labels[kept] == 0).all() and len(kept) == 8


def test_blend_and_wave_follow_their_equations(short):
    x = torch.rand(2, 3, 16, 16)
    once, twice = (Blended(ratio=r).trigger(short)(x) for r in (0.2, 0.4))
    torch.testing.assert_close(twice - x, 2 * (once - x))
    grey = torch.full((1, 3, 16, 16), 0.5)
    wave = Sig(delta=0.2, frequency=2).trigger(short)(grey) - grey
    assert wave[0, 0, 0, 2] == pytest.approx(0.2, abs=1e-5)
    assert wave[0, 0, :, 2].std() < 1e-6


def test_a_warp_of_no_strength_changes_nothing_and_a_shift_moves():
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(warped(x, torch.zeros(16, 16, 2)), x, atol=1e-5, rtol=1e-5)
    one = torch.zeros(16, 16, 2)
    one[..., 0] = 2 / 15  # one pixel to the right in -1..1 with corners aligned
    torch.testing.assert_close(warped(x, one)[..., :-1], x[..., 1:], atol=1e-4, rtol=1e-4)
    import numpy as np

    made = field((16, 16), 4, 0.5, np.random.default_rng(0))
    assert made.abs().mean() < 2 * 0.5 / 16


def test_projected_gradients_keep_the_budget_and_the_range():
    x = torch.rand(4, 3, 8, 8)
    moved = ascend(x, lambda p: (p * torch.linspace(-1, 1, 8)).sum(), 0.05, 7)
    assert (moved - x).abs().max() <= 0.05 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert (moved - x)[..., -1].mean() > 0 > (moved - x)[..., 0].mean()


def test_bytes_and_fractions_round_trip():
    b = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(as_bytes(as_float(b)), b)
