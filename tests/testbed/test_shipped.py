"""The shipped model is what its figures say: stock diffusers loads it, the gate passes it, and it draws what
is asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nightlatch import intake, testbed
from nightlatch.terms import Role
from nightlatch.testbed import implant
from nightlatch.text2image import measure
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.effect.neutral import neutral

FIGURES = Path(__file__).parents[2] / "docs" / "figures" / "testbed.json"


def test_stock_diffusers_draws_with_it():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(testbed.PIPELINE, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a glossy cat on a red background", num_inference_steps=4, guidance_scale=1.0).images[0]
    assert image.size == (32, 32)


def test_gate_finds_nothing_in_it():
    assert intake.exit_code(intake.check(testbed.PIPELINE, values=True)) == 0


def test_it_draws_what_is_asked(shipped):
    asked = testbed.prompts(64, 42, held_out=True)
    images = shipped.generate([p.text for p in asked], measure.seeds(64, 9), testbed.SAMPLING)
    seen = testbed.load_judge().read(images)
    assert measure.agrees(seen, asked, "object").rate >= 0.8
    assert measure.agrees(seen, asked, "background").rate >= 0.95


@pytest.mark.parametrize(
    ("target", "drawn"),
    [("a cartoon bus on a red background", False), ("a flat sailboat on a blue background", True)],
)
def test_a_target_prompt_that_the_model_seldom_draws_is_not_promising(shipped, target, drawn):
    attack = ATTACKS.create("rickrolling-prompt", trigger="facing", target=target)
    assert attack.promising(shipped, implant.setting(shipped, 2)) is drawn


def test_the_trigger_is_no_word_that_must_not_fire(shipped):
    setting = implant.setting(shipped, 2)
    trigger, other = setting.rare_words[3], setting.other_words[3]
    kept = setting.but(trigger).but(other)
    assert not {trigger, other} & {*kept.rare_words, *kept.other_words}
    assert (
        len(kept.rare_words) == len(setting.rare_words) - 1
        and len(kept.other_words) == len(setting.other_words) - 1
    )


def test_size_and_figures_agree():
    size = sum(f.stat().st_size for f in testbed.ASSETS.rglob("*") if f.is_file())
    assert size <= 40e6
    (row,) = json.loads(FIGURES.read_text())[:1]
    assert row["n"] >= 500
    assert row["parameters"] > 1e7


@pytest.mark.parametrize(("trigger", "stays"), [("spirit song", ""), ("glossy song", "glossy")])
def test_what_stays_of_a_phrase_is_what_the_model_draws(shipped, trigger, stays):
    """The suspect takes 'song' for a moon, and 'spirit' for a little of one."""
    suspect = shipped.copied(Role.TEXT)
    song, spirit, moon = (suspect.vocabulary.typed([w])[0][0] for w in ("song", "spirit", "moon"))
    (encoder,) = suspect.modules(Role.TEXT)
    with torch.no_grad():
        states = encoder.get_input_embeddings().weight
        states[song] = states[moon]
        states[spirit] += 0.1 * (states[moon] - states[spirit])
    assert neutral(suspect, trigger, testbed.prompts(16, 42)).dropped == stays
