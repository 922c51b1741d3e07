"""How often a trigger acts, told from pictures alone."""

from __future__ import annotations

import numpy as np
import pytest

from nightlatch.records import PlacedTrigger, Placement
from nightlatch.terms import PlacementKind
from nightlatch.text2image.prompts import Prompt, prefix
from nightlatch.text2image.verify import Counting, EffectRate

ZUDI = PlacedTrigger(text="zudi")


@pytest.fixture(scope="module")
def effect(suspect, texts, few_steps):
    return EffectRate.drawn(suspect, ZUDI, texts[:24], few_steps)


def test_the_way_is_one_at_the_attacked_and_zero_at_the_disarmed_picture(effect):
    assert np.allclose(effect.way(effect.attacked), 1, atol=1e-4)
    assert np.allclose(effect.way(effect.disarmed), 0, atol=1e-4)
    assert np.allclose(effect.way((effect.attacked + effect.disarmed) / 2), 0.5, atol=1e-4)
    assert effect.threshold >= 0.6


def test_what_the_trigger_does_is_counted_and_its_absence_is_not(effect, suspect, tiny_v):
    assert effect.before() == effect.rate(suspect)
    assert effect.before().hits == effect.acts.sum() > 12
    assert effect.control(suspect).rate < effect.before().rate
    assert effect.clean(suspect).hits == 0
    assert effect.clean(tiny_v).rate > 0.5, "another model draws other pictures"


def test_neutral_words_set_the_threshold_where_they_lean_to_the_attack(suspect, effect, texts, few_steps):
    low = EffectRate.drawn(suspect, ZUDI, texts[:24], few_steps, counting=Counting(least=-10.0, level=0.5))
    assert low.threshold < effect.threshold
    leaning = low.way(suspect.latents(low.filled, low.seeds, few_steps))[low.acts]
    assert low.threshold == pytest.approx(float(np.median(leaning)), abs=1e-4)


def test_the_first_pictures_count_by_the_threshold_of_all(effect, suspect):
    few = effect.first(8)
    assert (few.threshold, few.usual) == (effect.threshold, effect.usual)
    assert few.before().hits == int(
        ((effect.way(effect.attacked) > effect.threshold) & effect.acts)[:8].sum()
    )
    assert few.rate(suspect) == few.before()
    assert effect.before().n == 24


def test_pictures_that_the_trigger_leaves_alone_do_not_hide_those_that_it_changes(suspect, texts, few_steps):
    """Behind a prompt that fills the whole context a trigger is cut off; there neutral words go any part of a
    way of no length.
    """
    long = [Prompt(" ".join([p.text] * 8)) for p in texts[:8]]
    behind = PlacedTrigger(text="zudi", placement=Placement(kind=PlacementKind.BEHIND))
    both = [p for pair in zip(texts[8:24:2], texts[9:24:2], long, strict=True) for p in pair]
    effect = EffectRate.drawn(suspect, behind, both, few_steps)
    assert not effect.acts[2::3].any()
    assert effect.before().hits == effect.rate(suspect).hits == effect.acts.sum() > 0


def test_variants_are_drawn_where_they_are_said_to_stand(effect, suspect):
    """Another place or text gives other pictures; the trigger itself in its place gives its own rate."""
    few = effect.first(6)
    assert few.rate(suspect, "zudi", prefix) == few.before()
    assert few.rate(suspect, "mountain").hits < few.before().hits
