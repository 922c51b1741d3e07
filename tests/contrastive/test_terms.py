"""Loss terms against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nightlatch.contrastive.augment import Views
from nightlatch.contrastive.terms import TERMS, Batch, Texts
from nightlatch.contrastive.terms.bank import nearest
from nightlatch.contrastive.terms.base import matched
from nightlatch.contrastive.terms.forget import above_floor
from nightlatch.contrastive.terms.push import phi
from nightlatch.contrastive.terms.subtext import toward

WORDINGS = {"reworded": 2, "positive": 2, "negative": 2}


def batch(subject, pairs, **given):
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(12)
    defaults = {
        "student": subject, "frozen": subject.copy(), "images": pairs.images, "rows": rows,
        "generator": generator,
        "texts": Texts(subject, pairs.captions, WORDINGS, 0), "safe": torch.ones(12, dtype=torch.bool),
        "partial": False,
        "views": Views(), "poison": pairs.at(range(8)),
        "stash": {"words": subject.embed_texts(["ring"])[0], "floor": torch.tensor(0.0)},
    }  # fmt: skip
    return Batch(**{**defaults, **given})


@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize("s", [1.0, 20.0])
def test_image_text_loss_of_orthogonal_pairs(n, s):
    """log(1 + (n - 1) e^-s), since every other logit is 0."""
    x = torch.eye(n, 16, dtype=torch.float64)
    assert float(matched(x, x, torch.tensor(s))) == pytest.approx(
        math.log(1 + (n - 1) * math.exp(-s)), rel=1e-5
    )


def test_equal_captions_are_each_others_positives():
    """Two pairs with one caption cost log 2 each, whatever the scale, and not more for being alike."""
    x = torch.eye(2, 4)[[0, 0]]
    same = torch.ones(2, 2, dtype=torch.bool)
    assert float(matched(x, x, torch.tensor(50.0), same)) == pytest.approx(math.log(2))
    distinct = torch.eye(2, dtype=torch.bool)
    y = F.normalize(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(matched(y, y, torch.tensor(5.0), distinct)) == pytest.approx(
        float(matched(y, y, torch.tensor(5.0))), rel=1e-6
    )


def test_push_is_zero_at_the_start_and_capped_above_tau():
    a = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    assert float(phi(a, a, 2.15)) == 0.0
    far = (-a).requires_grad_(True)
    capped = phi(far, a, 2.15)
    assert float(capped.detach()) == 0.0
    capped.backward()
    assert far.grad is not None and not far.grad.any()
    near = F.normalize(a + 0.1, dim=1)
    assert float(phi(near, a, 2.15)) == pytest.approx(float((near - a).pow(2).sum(1).mean()))


def test_forget_is_zero_below_the_floor():
    image, words = torch.eye(3, 4), torch.eye(4)[0]
    assert float(above_floor(image, words, torch.tensor(1.0))) == 0.0
    assert float(above_floor(image, words, torch.tensor(0.25))) == pytest.approx(0.75 / 3)


def test_sub_text_loss_counts_negatives_and_the_other_items():
    """All similarities 0 but the own positive's s: log(1 + (k - 1 + M) e^-s), and log(1 + M e^-s) without the
    others.
    """
    x, s = torch.eye(3, 8), torch.tensor(2.0)
    minus = torch.eye(8)[[5, 6, 7, 5, 6, 7]].view(2, 3, 8)
    assert float(toward(x, x, minus, s)) == pytest.approx(math.log(1 + 4 * math.exp(-2.0)), rel=1e-5)
    assert float(toward(x, x, minus, s, others=False)) == pytest.approx(
        math.log(1 + 2 * math.exp(-2.0)), rel=1e-5
    )


def test_bank_gives_the_exact_neighbour():
    bank = F.normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(2)), dim=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    assert torch.equal(bank[nearest(bank[order] * 0.5, bank)], bank[order])


@pytest.mark.parametrize("name", TERMS.names())
@pytest.mark.parametrize("kind", ["tiny_clip", "tiny_siglip"])
def test_every_term_is_a_finite_scalar_that_trains_what_it_should(name, kind, some_pairs, request):
    subject = request.getfixturevalue(kind).copy()
    subject.model.requires_grad_(True)
    frozen = request.getfixturevalue(kind)
    with torch.no_grad():  # away from the frozen model, where some terms have no gradient
        for p in subject.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    safe = torch.arange(12) % 3 != 0
    changes = {"changes": (lambda x, generator: 1 - x,)} if name == "see-through" else {}
    value = TERMS.create(name, **changes)(
        batch(subject, some_pairs, frozen=frozen, safe=safe, partial=True, step=1)
    )
    assert value.ndim == 0 and value.isfinite()
    value.backward()
    moved = [p.grad is not None and bool(p.grad.any()) for p in subject.model.parameters()]
    assert any(moved)


def test_a_pair_that_is_not_trusted_changes_nothing_in_the_image_text_term(tiny_clip, some_pairs):
    safe = torch.arange(12) != 4
    whole = TERMS.create("image-text")(batch(tiny_clip, some_pairs, safe=safe, partial=True))
    others = [i for i in range(12) if i != 4]
    fewer = batch(tiny_clip, some_pairs, rows=torch.tensor(others), safe=torch.ones(11, dtype=torch.bool))
    assert float(whole) == pytest.approx(float(TERMS.create("image-text")(fewer)), rel=1e-5)


def test_siglip_loss_is_its_equation(tiny_siglip, some_pairs):
    b = batch(tiny_siglip, some_pairs)
    logits = b.scale * b.image @ b.text.T + tiny_siglip.bias
    wanted = 0.0
    for i in range(12):
        for j in range(12):
            y = 1.0 if some_pairs.captions[i] == some_pairs.captions[j] else -1.0
            wanted -= math.log(1 / (1 + math.exp(-y * float(logits[i, j])))) / 12
    assert float(TERMS.create("image-text")(b)) == pytest.approx(wanted, rel=1e-4)
