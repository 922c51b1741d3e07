"""Variations keep the form; colour transfer and distillation obey their closed forms; poison is what a
teacher no longer believes.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nightlatch.classifier import victims
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.training import Recipe, accuracy
from nightlatch.classifier.vary import (
    VARIATIONS,
    ByDiffusion,
    Distil,
    PictureDiffusion,
    PictureRecipe,
    disagreement,
    matched,
)
from nightlatch.classifier.vary import model as pictures_model
from nightlatch.classifier.vary.base import Same, Variation
from nightlatch.classifier.vary.pipeline import ByPipeline, load_pipeline
from nightlatch.classifier.vary.rebuild import identity_of
from nightlatch.classifier.vary.student import distillation
from nightlatch.errors import UnreadableModel, UsageError

TINY = PictureRecipe(widths=(16, 32), layers=1, steps=30, batch=16)


@pytest.fixture(scope="module")
def diffusion(train) -> PictureDiffusion:
    *_, (_, loss, made) = pictures_model.train(train.pictures, TINY)
    assert made is not None
    assert loss < 1.2
    return made


def test_colour_transfer_gives_the_exact_mean_and_spread():
    made, to = torch.rand(4, 3, 9, 7), torch.rand(4, 3, 9, 7) * 0.3
    out = matched(made, to)
    torch.testing.assert_close(out.mean((2, 3)), to.mean((2, 3)))
    torch.testing.assert_close(out.std((2, 3)), to.std((2, 3)))
    flat = matched(torch.full((1, 3, 4, 4), 0.2), to[:1])
    torch.testing.assert_close(flat.mean((2, 3)), to[:1].mean((2, 3)))


def test_distillation_without_the_teacher_is_cross_entropy_and_of_equal_logits_nothing():
    student, labels = torch.randn(6, 4), torch.randint(0, 4, (6,))
    torch.testing.assert_close(
        distillation(student, torch.randn(6, 4), labels, 0.0, 10.0), F.cross_entropy(student, labels)
    )
    assert distillation(student, student, labels, 1.0, 10.0).abs() < 1e-5
    teacher = torch.randn(6, 4)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    torch.testing.assert_close(
        distillation(student, teacher, labels, 1.0, 3.0),
        9 * (p * (p / q).log()).sum(1).mean(),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", VARIATIONS.names())
def test_variation_keeps_form_and_repeats_for_a_seed(name, train):
    vary = VARIATIONS.create(name, **({"steps": 4} if name == "autoencoder" else {}))
    few = train.pictures[:20]
    made = vary(few, seed=3)
    assert made.shape == few.shape
    assert made.dtype == torch.uint8
    assert torch.equal(made, vary(few, seed=3))


def test_strength_says_how_far_a_variation_goes(diffusion, train):
    few = train.pictures[:24]
    apart = [
        float(
            (ByDiffusion(model=diffusion, strength=s, steps=4, colours=False)(few).float() - few).abs().mean()
        )
        for s in (0.0, 0.1, 0.9)
    ]
    assert apart[0] == 0
    assert apart[0] < apart[1] < apart[2]


def test_variation_out_of_range_or_of_another_form_is_refused(train):
    with pytest.raises(UsageError, match="out of range"):
        Same(strength=1.5)(train.pictures[:2])

    class Smaller(Same):
        def run(self, pictures):
            return pictures[:, :, ::2]

    with pytest.raises(UsageError, match="another size"):
        Smaller()(train.pictures[:2])


def test_a_diffusion_model_round_trips_as_a_diffusers_pipeline(diffusion, train, tmp_path):
    from diffusers import DDIMPipeline

    diffusion.save(tmp_path / "d")
    stock = DDIMPipeline.from_pretrained(tmp_path / "d")
    assert stock.scheduler.config.prediction_type == "v_prediction"
    read = PictureDiffusion.load(tmp_path / "d")
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([10, 500])
    torch.testing.assert_close(read.raw(x, t), diffusion.raw(x, t), atol=0.02, rtol=0.02)
    assert diffusion.draw(2, (16, 16), 3).shape == (2, 3, 16, 16)
    with pytest.raises(UsageError, match="there already"):
        diffusion.save(tmp_path / "d")
    with pytest.raises(UnreadableModel, match="no diffusion model"):
        PictureDiffusion.load(tmp_path)


def test_a_variation_is_known_again_in_another_process(diffusion):
    part = identity_of(ByDiffusion(model=diffusion, strength=0.4, steps=7))
    assert part.parameters == {"strength": 0.4, "colours": True, "steps": 7}


def test_any_image_to_image_pipeline_varies_pictures(train, tiny_folder):
    """The tiny stable diffusion of the other tests, through the gate, asked as any pipeline is."""
    made = ByPipeline(pipeline=load_pipeline(tiny_folder), side=32, steps=4, strength=0.5, batch=2)(
        train.pictures[:3]
    )
    assert made.shape == (3, 3, 16, 16)


def test_student_learns_from_a_teacher_without_any_label(clean, train, test):
    """alpha = 1: labels are shuffled, and the student still learns the task."""
    torch.manual_seed(0)
    student = victims.resnet(train.classes, 16, 8, (1, 1, 1))
    wrong = Labelled(train.pictures, train.labels[torch.randperm(len(train))], train.classes)
    before = clean.fingerprint
    Distil(alpha=1.0, temperature=4.0)(
        student, clean, wrong, Recipe(epochs=8, batch=64, rate=0.1, pad=1, mirror=False)
    )
    assert accuracy(student, test).rate >= 0.9
    assert clean.fingerprint == before


def test_a_student_sees_all_variations_of_a_picture(train, test):
    """The first variations show nothing, so that all it learns is from the second."""
    torch.manual_seed(0)
    student, teacher = (victims.resnet(train.classes, 16, 8, (1, 1, 1)) for _ in range(2))
    blank = Labelled(torch.zeros_like(train.pictures), train.labels, train.classes)
    recipe = Recipe(epochs=12, batch=64, rate=0.1, pad=1, mirror=False)
    Distil(alpha=0.0)(student, teacher, blank, recipe, [train.pictures])
    assert accuracy(student, test).rate >= 0.8


def test_poison_is_ranked_first_by_disagreement(planted):
    """The variation is one that takes the corner away, as a generator would."""

    class Cornerless(Variation):
        name = "cornerless"

        def run(self, pictures):
            made = pictures.clone()
            made[..., -5:, -5:] = pictures[..., :5, :5]
            return made

    data = planted.data
    suspicion = disagreement(planted.subject, data, [Cornerless(colours=False)(data.pictures)])
    bad, good = suspicion[planted.poisoned], suspicion[~planted.poisoned]
    assert (bad[:, None] > good[None]).float().mean() >= 0.95
