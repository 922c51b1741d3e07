"""Finders: contract over the registry, and closed forms of what they are made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nightlatch.contrastive import metrics
from nightlatch.contrastive.find import FINDERS, CommonCause
from nightlatch.contrastive.find.density import Neighbours, k_distance, lid, log_dao, log_slof
from nightlatch.contrastive.selectors import fit
from nightlatch.errors import UsageError

QUICK = {"steps": 2, "batch": 16, "rounds": 2, "k": 4}
DENSITY = {"k-dist": k_distance, "lid": lid, "slof": log_slof, "dao": log_dao}


def quick(part):
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{k: v for k, v in QUICK.items() if k in known})


@pytest.mark.parametrize("part", list(FINDERS), ids=lambda p: p.name)
def test_finder_scores_every_pair_and_leaves_the_model_alone(part, tiny_clip, some_pairs):
    before = {k: v.clone() for k, v in tiny_clip.model.state_dict().items()}
    found = quick(part)(tiny_clip, some_pairs, seed=1)
    assert found.scores.shape == (64,) and np.isfinite(found.scores).all() and np.ptp(found.scores) > 0
    assert np.array_equal(quick(part)(tiny_clip, some_pairs, seed=1).scores, found.scores)
    assert all(torch.equal(v, before[k]) for k, v in tiny_clip.model.state_dict().items())
    assert not any(p.requires_grad for p in tiny_clip.model.parameters())


@pytest.mark.parametrize("part", list(FINDERS), ids=lambda p: p.name)
def test_finder_refuses_too_few_pairs(part, tiny_clip, some_pairs):
    with pytest.raises(UsageError, match="needs at least"):
        part()(tiny_clip, some_pairs.at(range(part.fewest - 1)))


@pytest.mark.parametrize("name", list(DENSITY))
def test_density_does_not_depend_on_the_order_of_the_batch(name):
    """Neighbours that are looked up in a table with the own row removed would be other rows after a
    permutation.
    """
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    plain, mixed = DENSITY[name](Neighbours.of(x, 8)), DENSITY[name](Neighbours.of(x[order], 8))
    assert torch.allclose(plain[order], mixed, atol=1e-8)


@pytest.mark.parametrize("score", [log_slof, log_dao])
def test_uniform_surroundings_score_zero_and_an_outlier_above(score):
    """A ring of equally spaced points looks the same from each of them."""
    angle = torch.arange(40, dtype=torch.float64) * 2 * torch.pi / 40
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    assert score(Neighbours.of(ring, 6)).abs().max() < 1e-6
    with_outlier = torch.cat([ring, torch.tensor([[4.0, 0.0]], dtype=torch.float64)])
    scores = score(Neighbours.of(with_outlier, 6))
    assert scores[-1] > 1 and scores[-1] == scores.max()


def test_lid_of_a_line_and_of_a_plane():
    """Its own equation on points whose distances are known, and more of it in a plane than on a line."""
    line = torch.arange(40, dtype=torch.float64)[:, None]
    near = Neighbours.of(line, 4)  # from within: 1, 1, 2, 2
    wanted = -4 / (2 * np.log(0.5 + 1e-4) + 2 * np.log(1 + 1e-4))
    assert float(lid(near)[20]) == pytest.approx(wanted, rel=1e-6)
    x = torch.rand(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert lid(Neighbours.of(x, 16)).median() > 1.5 * lid(Neighbours.of(x[:, :1], 16)).median()


def test_mixture_recovers_two_known_gaussians():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0.1, 0.05, 300), rng.normal(0.6, 0.1, 700)])
    mixture = fit(x)
    assert mixture.mean == pytest.approx((0.1, 0.6), abs=0.02)
    assert mixture.deviation == pytest.approx((0.05, 0.1), abs=0.02)
    assert mixture.weight == pytest.approx((0.3, 0.7), abs=0.03)
    assert mixture.high(np.array([0.0, 0.7])) == pytest.approx((0.0, 1.0), abs=0.01)


def test_auroc_and_precision_of_known_orders():
    poison = np.array([True, False, True, False])
    assert metrics.auroc(np.array([4.0, 1.0, 3.0, 2.0]), poison) == 1.0
    assert metrics.auroc(np.array([1.0, 1.0, 1.0, 1.0]), poison) == 0.5
    assert metrics.auroc(np.array([4.0, 3.0, 2.0, 1.0]), poison) == 0.75
    assert metrics.precision_at(np.array([4.0, 3.0, 2.0, 1.0]), poison, 2) == 0.5


def test_planted_poison_is_found_without_a_clean_model(planted):
    scores = FINDERS.create("fragile")(planted.subject, planted.pairs).scores
    assert metrics.auroc(scores, planted.poison) > 0.9


def test_a_clean_model_sees_that_poisoned_captions_do_not_fit(planted, trained):
    for name in ("similarity-mixture", "shortcut-overfit"):
        scores = FINDERS.create(name)(trained, planted.pairs).scores
        assert metrics.auroc(scores, planted.poison) > 0.9, name


def two_kinds(n, poisoned, seed, shift):
    """Features of n pictures of one thing, a part of which has something of its own, and of others."""
    generator = torch.Generator().manual_seed(seed)
    thing, trigger = torch.randn(24, generator=generator), torch.randn(24, generator=generator)
    own = torch.randn(n, 24, generator=generator) + thing
    own[:poisoned] += shift * trigger / trigger.norm()
    return own, torch.randn(500, 24, generator=generator)


def test_a_common_direction_is_found_in_spite_of_wrong_first_labels():
    own, beside = two_kinds(300, 80, 0, 9.0)
    rng = np.random.default_rng(1)
    z = rng.normal(size=300)
    z[:80] += 4.0
    z[80:110] += 4.0
    found = CommonCause().separated(own, beside, z, rng)
    assert found is not None
    poisoned, value = found
    assert poisoned[:80].mean() > 0.95 and poisoned[80:].mean() < 0.05
    assert value[:80].min() > np.quantile(value[80:], 0.95)


def test_pictures_of_one_kind_are_left_alone():
    own, beside = two_kinds(300, 0, 2, 0.0)
    rng = np.random.default_rng(3)
    assert CommonCause().separated(own, beside, rng.normal(size=300), rng) is None


def test_only_words_that_stand_out_as_the_first_does_are_looked_at():
    finder = CommonCause(groups=2)
    assert finder.named({"banana": 2.8, "pizza": 1.5, "mango": 1.45, "dog": -0.2}) == ["banana", "pizza"]
    assert finder.named({"banana": 2.8, "me": 1.2}) == ["banana"]
    assert finder.named({"banana": -0.1}) == []
