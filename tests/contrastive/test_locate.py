"""Where a shortcut sits: words and regions, by occlusion."""

from __future__ import annotations

import torch

from nightlatch.contrastive import locate
from nightlatch.contrastive.terms.texts import used

from .conftest import TARGET, pairs


def test_padding_carries_nothing(tiny_clip, some_pairs):
    """Importance is measured by leaving words out, so what no caption has, padding included, can carry
    nothing.
    """
    ids = tiny_clip.ids(some_pairs.captions)
    cut = ids[:, : used(ids)]
    assert cut.shape[1] < ids.shape[1]
    with torch.no_grad():
        assert torch.allclose(tiny_clip.text(ids), tiny_clip.text(cut), atol=1e-6)


def test_importance_is_the_drop_without_the_word(tiny_clip, some_pairs):
    few = some_pairs.at([0])
    caption = few.captions[0]
    parts = caption.split()
    image = tiny_clip.embed_images(few.images)[0]
    whole, fewer = tiny_clip.embed_texts([caption, " ".join(parts[:-1])])
    found = locate.word_importance(tiny_clip, few)
    assert abs(found[parts[-1]] - float(image @ (whole - fewer))) < 1e-5


def test_shortcut_words_of_planted_poison_are_the_targets(planted):
    poison = planted.pairs.at(planted.poison.nonzero()[0])
    words = locate.shortcut_words(planted.subject, poison, pairs(200, 41))
    assert set(words) & set(TARGET.split())


def test_reduced_captions_keep_the_words_only():
    assert locate.reduced("a photo of a Yellow ring", ("ring", "yellow")) == "Yellow ring"
    assert locate.reduced("nothing here", ("ring",)) == "ring"


def test_region_is_the_fewest_cells_with_the_mass():
    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 2], heat[0, 3, 3], heat[0, 0, 0] = 6.0, 3.0, -9.0
    mask = locate.region(heat, 8, share=0.5)
    assert mask.shape == (1, 1, 8, 8) and mask.sum() == 4
    assert mask[0, 0, 2:4, 4:6].all()
    assert locate.region(heat, 8, share=0.9).sum() == 8


def test_concentration_of_one_spot_and_of_an_even_map():
    spot = torch.zeros(1, 10, 10)
    spot[0, 4, 4] = 1
    assert float(locate.concentration(spot)) == 1.0
    assert abs(float(locate.concentration(torch.ones(1, 10, 10))) - 0.1) < 1e-6


def test_occlusion_points_to_the_planted_patch(planted):
    """The patch lies in the lower right corner; this is asked of pictures that carry it, never of the
    attack.
    """
    poison = planted.pairs.at(planted.poison.nonzero()[0])
    toward = planted.subject.embed_texts([TARGET])[0]
    heat = locate.occlusion(planted.subject, poison.images, toward, grid=4, window=1).mean(0)
    assert int(heat.flatten().argmax()) == 15
