"""Stand-ins for triggers keep their bounds, and a gradient search uses them."""

from __future__ import annotations

import pytest
import torch

from nightlatch.contrastive.proxies import KINDS, AddedProxy, PatchProxy, collapse, invert, toward
from nightlatch.contrastive.scan import smallest
from nightlatch.contrastive.subject import to_pixels


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_stand_in_keeps_pictures_in_range_and_is_differentiable(kind, some_pairs):
    generator = torch.Generator().manual_seed(0)
    proxy = kind(16, generator)
    proxy.free.requires_grad_(True)
    x = to_pixels(some_pairs.images[:6])
    y = proxy(x, generator)
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1 + 1e-6
    y.pow(2).sum().backward()
    assert proxy.free.grad is not None and proxy.free.grad.any()


def test_patch_covers_its_side_only_and_the_added_picture_its_bound(some_pairs):
    generator = torch.Generator().manual_seed(0)
    x = to_pixels(some_pairs.images[:20])
    patched = (PatchProxy(16, generator, side=0.25)(x, generator) != x).any(1).flatten(1).sum(1)
    assert int(patched.max()) <= 16
    added = AddedProxy(16, generator, bound=0.1)
    added.free = 100 * torch.ones_like(added.free)
    assert float((added(x, generator) - x).max()) <= 0.1 + 1e-6


def test_collapse_is_the_mean_cosine_of_two_pictures():
    x = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    wanted = (x @ x.T)[~torch.eye(6, dtype=torch.bool)].mean()
    assert float(collapse(x)) == pytest.approx(-float(wanted), abs=1e-6)
    assert float(collapse(x[:1].expand(5, -1))) == pytest.approx(-1.0, abs=1e-5)


def test_search_moves_pictures_towards_the_words(trained, some_pairs):
    generator = torch.Generator().manual_seed(0)
    words = trained.embed_texts(["a photo of a red cross"])[0]
    proxy = AddedProxy(16, generator)
    before = float(toward(words)(trained.image(proxy(to_pixels(some_pairs.images), generator))).detach())
    after = invert(proxy, trained, some_pairs.images, toward(words), 15, generator)
    assert after < before - 0.05
    assert not proxy.free.requires_grad


def test_smallest_collapsing_patch_does_what_it_says(trained, some_pairs):
    """The mask that is reported makes the pictures as alike as reported."""
    found = smallest(trained, some_pairs.images, seed=0, steps=80, alike=0.9)
    assert found.reached and 0 < found.share < 1
    x = to_pixels(some_pairs.images)
    with torch.no_grad():
        same = -float(collapse(trained.image((1 - found.mask) * x + found.mask * found.pattern)))
    assert same > 0.8
    never = smallest(trained, some_pairs.images, seed=0, steps=3, alike=1.01)
    assert not never.reached and never.share == 1.0
