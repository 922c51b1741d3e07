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
    Form,
    Pools,
    SupportPoison,
    drawn,
    pools,
    trial,
    unit,
    varied,
)
from nightlatch.classifier.fewshot.backbone import folded
from nightlatch.classifier.fewshot.defence import above, apart, influence, shift
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
    x = torch.rand(7, 1, 3, 16, 16) * 0.6 + torch.rand(7, 20, 3, 16, 16) * 0.3
    return Labelled((x.flatten(0, 1) * 255).byte(), torch.arange(7).repeat_interleave(20), tuple("abcdefg"))


FORM = Form(queries=5)


@pytest.fixture(scope="module")
def own(many) -> Pools:
    return pools(many, many, FORM)


def pictures_of(x: torch.Tensor) -> set[bytes]:
    return {p.numpy().tobytes() for p in x.flatten(0, -4)}


def test_no_picture_has_two_parts_in_the_pools(own, many):
    assert own.support.shape == (5, 2, 5, 3, 16, 16)
    assert own.queries.shape == (5, 10, 3, 16, 16)
    parts = [pictures_of(x) for x in (own.own, own.support, own.queries)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40 + 50 + 50
    with pytest.raises(UsageError, match="Only 7 classes"):
        pools(many, many, Form(ways=7, queries=5))


def test_queries_come_from_the_data_that_is_to_judge(many):
    other = Labelled(255 - many.pictures, many.labels, many.classes)
    made = pools(many, other, FORM)
    assert pictures_of(made.queries) <= pictures_of(other.pictures.float() / 255)
    assert made.support.shape[1:3] == (2, 5) and made.queries.shape[1] == 20
    fewer = pools(many, other, Form(ways=4, queries=5), (4, 1, 7))
    assert fewer.support.shape[:3] == (4, 1, 5) and fewer.queries.shape[:2] == (4, 7)


def test_episodes_have_their_form_and_no_picture_twice(own):
    some = drawn(own, FORM, 20, 0)
    assert some.classes.shape == some.sets.shape == (20, 5)
    assert all(len(set(row)) == 5 for row in some.classes.tolist())
    assert all(len(set(row)) == 5 for rows in some.queries.tolist() for row in rows)
    assert some.support_of(own.support).shape == (20, 5, 5, 3, 16, 16)
    asked = some.queries_of(own.queries)
    assert torch.equal(asked[3, 2, 1], own.queries[some.classes[3, 2], some.queries[3, 2, 1]])
    learned = some.part(slice(3, 4)).support_of(own.support)
    assert torch.equal(learned[0, 2], own.support[some.classes[3, 2], some.sets[3, 2]])


def test_a_folded_network_is_the_same_function():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)
    ).eval()
    for norm in (net[1], net[3]):
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias), nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        before = net(x)
        torch.testing.assert_close(folded(net.requires_grad_(False))(x), before)
    assert isinstance(net[1], nn.Identity) and isinstance(net[3], nn.BatchNorm2d)


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
def test_defence_gives_features_and_weights_of_the_support(name, backbone, own):
    features, keep = DEFENCES.create(name)(
        unit(backbone, own.support)[None, :, 0], varied(backbone, own.support)[None, :, 0]
    )
    assert features.shape == (1, 5, 5, 96)
    assert keep.shape == (1, 5, 5)
    torch.testing.assert_close(keep.mean(2), torch.ones(1, 5))


def test_poison_keeps_its_budget_and_moves_means_along_the_direction_only(backbone, own):
    attack = SupportPoison(search=5, steps=30)
    patch = attack.trigger(backbone, own.own)
    assert patch.shape == (3, 3, 3)
    d = attack.direction(backbone, own.own, patch)
    torch.testing.assert_close(d.norm(), torch.tensor(1.0))
    sets, before = own.support[:, 0], unit(backbone, own.support[:, 0]).mean(1)
    for target, sign in ((True, 1), (False, -1)):
        poisoned = attack.poison(backbone, sets, d, target)
        assert (poisoned - sets).abs().max() <= attack.budget + 1e-6
        assert poisoned.min() >= 0 and poisoned.max() <= 1
        moved = unit(backbone, poisoned).mean(1) - before
        along = sign * (moved @ d)
        assert (along > 0.02).all()
        assert (along > (moved - (moved @ d)[:, None] * d).norm(dim=-1)).all()
    still = SupportPoison(steps=30, drawn=0.0).poison(backbone, sets, d, True)
    assert (unit(backbone, still).mean(1) - before).norm(dim=-1).max() < 0.02
    put = attack.put(sets, patch)
    assert torch.equal(put[..., :-3, :], sets[..., :-3, :])
    assert torch.equal(put[4, 2, :, -3:, -3:], patch)


def test_what_classes_were_moved_apart_by_is_projected_out():
    """Poison along one direction, which variations take back beside a shift of all classes: nothing of it stays."""
    torch.manual_seed(0)
    made = torch.randn(2, 5, 5, 64)
    made[..., 1] = 0  # honest features have nothing there
    own = made.clone()
    own[:, 0, :, 1] += 3
    own[:, 1:, :, 1] -= 2
    made = made + torch.randn(64)
    torch.testing.assert_close(apart(own, made)[:, 0, 1].abs(), torch.ones(2))
    kept, _ = DEFENCES.create("shift-projection")(own, made)
    assert kept[..., 1].abs().max() < 1e-4
    assert apart(own, made).shape == (2, 4, 64)


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


def test_attack_succeeds_undefended_and_the_control_does_not(backbone, own):
    attack = SupportPoison(side=0.25, search=40, steps=30, budget=16 / 255, drawn=0.1, pushed=0.1)
    rows = {(o.head, o.defence): o for o in trial(backbone, own, attack, FORM, 12)}
    assert len(rows) == len(HEADS.names()) * len(DEFENCES.names())
    bare = rows["prototypes", "none"]
    assert bare.success.n == 12 * 4 * 5
    assert bare.accuracy.n == 12 * 5 * 5
    assert bare.success.rate >= 0.7
    assert bare.success_patch_alone.rate <= 0.3
    assert bare.accuracy.rate >= bare.accuracy_clean.rate - 0.1
    assert rows["prototypes", "shift-projection"].success.rate <= bare.success.rate / 2
