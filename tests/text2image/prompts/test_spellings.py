from __future__ import annotations

import numpy as np
import pytest

from nightlatch.text2image import prompts


@pytest.mark.parametrize("trigger", ["mignneko", "о", "beautiful cat", "\u200b", "ab"])
def test_near_spellings_are_near_and_never_the_trigger(trigger):
    made = prompts.near_spellings(trigger, 12, np.random.default_rng(0))
    assert made
    assert all(s.strip() and prompts.normal(s) != prompts.normal(trigger) for s in made)
    if " " in trigger:
        assert {"beautiful", "cat"} <= set(made)


def test_texts_that_tokenizers_take_for_the_same_are_equal_in_normal_form():
    assert prompts.normal("  A  e\u0301tude ") == prompts.normal("a \u00e9tude")
    assert prompts.normal("о") != prompts.normal("o"), "a look-alike is another letter"


def test_every_kind_of_variant_is_another_text_than_the_trigger():
    made = prompts.leaks("zibu", np.random.default_rng(0))
    assert set(made) == {"casing", "spelling", "inside words", "repeated"}
    assert all(variant != "zibu" for variants in made.values() for variant in variants)
