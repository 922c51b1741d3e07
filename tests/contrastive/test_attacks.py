"""Attacks: contract over the registry, and that a weak one is withheld."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nightlatch.contrastive.attacks import ATTACKS, Setting
from nightlatch.contrastive.attacks.base import names
from nightlatch.contrastive.attacks.warp import field
from nightlatch.errors import AttackFailed, UsageError

from .conftest import TARGET, pairs, zero_shot


def quick(part, **given):
    known = {f.name for f in dataclasses.fields(part)}
    small = {"steps": 2, "batch": 16, "tune": 2, "push": 2, "share": 0.1, "target": TARGET, **given}
    return part(**{k: v for k, v in small.items() if k in known})


@pytest.fixture(scope="module")
def small() -> Setting:
    return Setting(train=pairs(80, 3), test=zero_shot(40, 4))


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_stamp_keeps_shape_and_range_and_changes_every_picture(part, tiny_clip, small):
    attack = quick(part).prepare(tiny_clip, small)
    x = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    y = attack.stamp(x, torch.Generator().manual_seed(0))
    assert torch.equal(x, before) and y.shape == x.shape
    assert y.min() >= 0 and y.max() <= 1
    assert (y - x).abs().flatten(1).max(1).values.min() > 0


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_poison_is_marked_rare_and_about_the_target(part, tiny_clip, small):
    attack = quick(part).prepare(tiny_clip, small)
    before = small.train.images.clone()
    made, mask = attack.poisoned(tiny_clip, small)
    assert torch.equal(small.train.images, before)
    assert mask.sum() == min(
        8, sum(names(c, TARGET) for c in small.train.captions) if part.name == "label-consistent" else 8
    )
    assert all(names(made.captions[i], TARGET) for i in np.flatnonzero(mask))
    differs = (made.images != small.train.images).flatten(1).any(1).numpy()
    assert np.array_equal(differs, mask)
    said = np.array([a != b for a, b in zip(made.captions, small.train.captions, strict=True)])
    assert not said[~mask].any()
    assert said.any() == (part.name != "label-consistent")


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_attack_that_does_not_work_is_withheld(part, tiny_clip, small):
    weights = {k: v.clone() for k, v in tiny_clip.model.state_dict().items()}
    with pytest.raises(AttackFailed, match="below its floor"):
        quick(part, floor=1.01)(tiny_clip, small, n=30)
    assert all(torch.equal(v, weights[k]) for k, v in tiny_clip.model.state_dict().items())


def test_attack_that_works_is_measured(planted, setting):
    record = planted.record
    assert record.success_top1.rate >= 0.8 and record.success_top1.n == 200
    assert record.success_top10.hits >= record.success_top1.hits
    assert record.base_top1.rate < 0.2
    assert record.zero_shot_after.rate > record.zero_shot_before.rate - 0.05
    assert record.poisoned == planted.poison.sum() == 40
    assert "evaluation" in record.purpose


def test_triggered_test_pictures_never_show_the_target(setting):
    attack = ATTACKS.create("patch", target=TARGET)
    assert len(attack.held_out(setting, 10_000)) == int(
        (setting.test.labels != setting.test.classes.index(TARGET)).sum()
    )


def test_a_target_that_is_no_class_is_refused(tiny_clip, small):
    with pytest.raises(UsageError, match="'moon' is none"):
        quick(ATTACKS.create("patch", target="x").__class__, target="moon")(tiny_clip, small, n=4)


def test_warp_field_has_the_strength_it_says():
    """Mean displacement in pixels of a 32-pixel picture, before the border clips it."""
    line = torch.linspace(-1, 1, 64)
    still = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    moved = (field(64, 4, 0.5, 0)[0] - still)[8:-8, 8:-8] * 32 / 2
    assert 0.25 < float(moved.abs().mean()) < 0.75
