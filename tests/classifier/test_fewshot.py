"""The support set's poison keeps its budget; heads and defences keep their forms; the attack works where
nothing defends.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.fewshot import (
    DEFENCES,
    HEADS,
    Episodes,
    Form,
    SupportPoison,
    drawn,
    softened,
    trial,
)
from nightlatch.classifier.fewshot.defence import above, influence, shift
from nightlatch.errors import UsageError


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    ).requires_grad_(False)


@pytest.fixture(scope="module")
def many() -> Labelled:
    torch.manual_seed(0)
    x = torch.rand(6, 1, 3, 16, 16) * 0.6 + torch.rand(6, 20, 3, 16, 16) * 0.3
    return Labelled((x.flatten(0, 1) * 255).byte(), torch.arange(6).repeat_interleave(20), tuple("abcdef"))


@pytest.fixture(scope="module")
def episodes(many) -> Episodes:
    return next(drawn(many, Form(queries=5), 2, 0, 2))


def test_episodes_have_their_form_and_no_picture_twice(episodes, many):
    assert episodes.support.shape == (2, 5, 5, 3, 16, 16)
    assert episodes.queries.shape == (2, 5, 5, 3, 16, 16)
    flat = torch.cat([episodes.support, episodes.queries], 2)[0].flatten(0, 1).flatten(1)
    assert len(flat.unique(dim=0)) == 50
    with pytest.raises(UsageError, match="Only 6 classes"):
        next(drawn(many, Form(ways=7), 1, 0))


@pytest.mark.parametrize("name", HEADS.names())
def test_head_tells_clear_classes_apart_and_leaves_out_what_weighs_nothing(name):
    torch.manual_seed(0)
    centres = torch.eye(5, 8)
    support = centres[None, :, None] + 0.05 * torch.randn(2, 5, 5, 8)
    queries = centres.repeat_interleave(3, 0)[None] + 0.05 * torch.randn(2, 15, 8)
    truth = torch.arange(5).repeat_interleave(3)
    head = HEADS.create(name)
    assert (head.answers(support, queries) == truth).all()
    spoilt, keep = support.clone(), torch.ones(2, 5, 5)
    spoilt[:, 0, :2], keep[:, 0, :2] = -20 * centres[1], 0
    assert (head.answers(spoilt, queries, keep) == truth).all()


def test_a_robust_prototype_is_hardly_moved_by_one_far_feature():
    torch.manual_seed(0)
    support = torch.eye(3)[0] + 0.01 * torch.randn(1, 1, 5, 3)
    spoilt = support.clone()
    spoilt[0, 0, 0] = torch.eye(3)[1]
    keep = torch.ones(1, 1, 5)
    moved = {
        n: 1
        - float(
            F.cosine_similarity(
                HEADS.create(n).weights(support, keep), HEADS.create(n).weights(spoilt, keep), dim=-1
            )
        )
        for n in ("prototypes", "robust-prototypes")
    }
    assert moved["robust-prototypes"] < 0.1 * moved["prototypes"]


@pytest.mark.parametrize("name", DEFENCES.names())
def test_defence_gives_features_and_weights_of_the_support(name, backbone, episodes):
    features, keep = DEFENCES.create(name)(backbone, episodes.support, softened)
    assert features.shape == (2, 5, 5, 96)
    assert keep.shape == (2, 5, 5)
    torch.testing.assert_close(keep.mean(2), torch.ones(2, 5))


def test_poison_keeps_its_budget_and_without_a_goal_changes_little(backbone, episodes):
    attack = SupportPoison(search=5, steps=6)
    patch = attack.trigger(backbone, episodes)
    assert patch.shape == (2, 3, 3, 3)
    poisoned = attack.poison(backbone, episodes, patch)
    assert (poisoned - episodes.support).abs().max() <= attack.budget + 1e-6
    assert poisoned.min() >= 0 and poisoned.max() <= 1
    put = attack.put(episodes.support, patch)
    assert torch.equal(put[..., :-3, :], episodes.support[..., :-3, :])
    assert torch.equal(put[1, 4, 2, :, -3:, -3:], patch[1])


def test_support_is_ranked_by_what_was_done_to_it():
    """A feature that a variation moves, and one that moves its prototype, stand above the others."""
    torch.manual_seed(0)
    own = torch.eye(4)[0] + 0.02 * torch.randn(1, 2, 5, 4)
    made = own + 0.01 * torch.randn_like(own)
    made[0, 1, 3] += 2 * torch.eye(4)[1]
    assert int(shift(own, made).flatten().argmax()) == 8
    assert int(influence(made).flatten().argmax()) == 8
    ranks = above(shift(own, made))
    assert (ranks >= 0).all()
    assert float(ranks[0, 1, 3]) > 5


def test_attack_succeeds_undefended_and_the_control_does_not(backbone, many):
    attack = SupportPoison(side=0.25, search=20, steps=10, budget=32 / 255)
    rows = {(o.head, o.defence): o for o in trial(backbone, drawn(many, Form(queries=5), 4, 0, 4), attack)}
    assert len(rows) == len(HEADS.names()) * len(DEFENCES.names())
    bare = rows["prototypes", "none"]
    assert bare.success.n == 4 * 4 * 5
    assert bare.success.rate >= 0.7
    assert bare.success_patch_alone.rate <= 0.3
    assert rows["prototypes", "variations"].accuracy.rate >= bare.accuracy.rate
