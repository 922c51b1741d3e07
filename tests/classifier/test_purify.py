"""The purifier's strength follows the picture's own noise; a backdoored purifier is told from an honest
one.
"""

from __future__ import annotations

import pytest
import torch

from nightlatch.classifier.purify import Diff2, Purifier, adaptive, disagree, distortion, labels
from nightlatch.classifier.vary import PictureDiffusion, PictureRecipe
from nightlatch.classifier.vary import model as pictures_model
from nightlatch.diffusion import tables

TINY = PictureRecipe(widths=(16, 32), layers=1, steps=20, batch=16)


@pytest.fixture(scope="module")
def diffusion(train) -> PictureDiffusion:
    *_, (_, _, made) = pictures_model.train(train.pictures, TINY)
    assert made is not None
    return made


def test_noise_level_is_read_off_flat_pictures():
    torch.manual_seed(0)
    for sigma in (0.02, 0.1):
        noisy = 0.5 + sigma * torch.randn(4, 3, 64, 64)
        torch.testing.assert_close(distortion(noisy), torch.full((4,), sigma), rtol=0.06, atol=0)
    assert distortion(torch.full((1, 3, 16, 16), 0.3)) == 0


def test_adaptive_strength_is_where_noise_over_signal_is_kappa_sigma():
    table = tables.cosine(1000)
    torch.manual_seed(0)
    noisy = 0.5 + 0.05 * torch.randn(3, 3, 64, 64)
    share = adaptive(noisy, table, 2.0, 0.0, 1.0)
    for one, sigma in zip(share, distortion(noisy), strict=True):
        now = table.at(table.at_share(float(one)))
        assert float(now.s / now.a) == pytest.approx(2.0 * 2 * float(sigma), rel=0.05)
    assert (adaptive(noisy, table, 2.0, 0.3, 0.4) == 0.3).all()


def test_purifier_keeps_form_and_its_strengths_differ_only_when_adaptive(diffusion, clean, test):
    few = test.pictures[:12]
    fixed = Purifier(model=diffusion, strength=0.3, steps=2)
    own = Purifier(model=diffusion, strength=0.6, steps=2, kappa=1.0, least=0.0)
    assert fixed.strengths(few).unique().tolist() == pytest.approx([0.3])
    assert len(own.strengths(few).unique()) > 1
    for purifier in (fixed, own):
        made = purifier(few)
        assert made.shape == few.shape
        assert made.min() >= 0 and made.max() <= 1
        torch.testing.assert_close(made, purifier(few))
    assert labels(clean, fixed, few).shape == (12,)


def test_equal_purifiers_agree_and_unlike_ones_do_not(diffusion, clean, test):
    few = test.pictures[:12]
    gentle, rough = (
        Purifier(model=diffusion, strength=0.05, steps=2),
        Purifier(model=diffusion, strength=1.0, steps=2),
    )
    assert (disagree(clean, (gentle, gentle), few) == 0).all()
    apart = disagree(clean, (gentle, rough), few)
    assert (apart >= 0).all() and (apart <= 1).all()
    assert apart.mean() > 0.05


def test_a_backdoored_purifier_leaves_the_one_it_was_made_from_alone(diffusion, clean, train):
    stress = Diff2(search=10, budget=0.2)
    torch.manual_seed(0)
    change = stress.trigger(clean, train.pictures, train.labels)
    assert change.abs().max() <= 0.2 + 1e-6
    moved = (train.pictures[:100].float() / 255 + change).clamp(0, 1)
    right = train.labels[:100]
    assert (clean.logits(moved).argmax(1) == right).float().mean() < (
        clean.logits(train.pictures[:100]).argmax(1) == right
    ).float().mean()
    before = [p.clone() for p in diffusion.unet.parameters()]
    made = stress.poison(diffusion, change, train.pictures, TINY)
    assert all(torch.equal(a, b) for a, b in zip(before, diffusion.unet.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before, made.unet.parameters(), strict=True))
