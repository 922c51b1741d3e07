"""The disarmed form of a trigger, and the words that it is told by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image import prompts
from nightlatch.text2image.effect.neutral import (
    Disarming,
    Neutral,
    copied_word,
    drawing_otherwise,
    least_attacked,
    neutral,
    single_token_words,
)

QUICK = Disarming(pool=12, fillings=4, prompts=4)


@pytest.mark.parametrize("trigger", ["zibu", "mignneko", "о", "lovely cat"])
def test_filled_prompts_keep_every_other_position(tiny_v, texts, trigger):
    form, typed = neutral(tiny_v, trigger, texts, numbers=QUICK), tiny_v.vocabulary.typed
    assert len(form.filled) == QUICK.fillings
    for filled in form.filled:
        assert len(typed([filled])[0]) == form.token_positions == len(typed([trigger])[0])
        assert filled != trigger
    assert form.dropped != trigger


def test_a_word_of_a_phrase_that_means_something_of_its_own_stays(tiny_v, texts):
    """By the numbers given: nothing is meaningful enough, or everything is, where the least meaningful word
    still goes.
    """
    none = neutral(
        tiny_v, "lovely cat", texts, numbers=Disarming(pool=12, prompts=4, meaningful=float("inf"))
    )
    some = neutral(
        tiny_v, "lovely cat", texts, numbers=Disarming(pool=12, prompts=4, meaningful=0.0, apart=0.0)
    )
    assert none.dropped == ""
    assert some.dropped in ("lovely", "cat")
    assert all(some.dropped in filled.split() for filled in some.filled)


def test_only_what_stands_for_a_word_of_the_prompt_replaces_it():
    form, asked = (
        Neutral("zudi", "", ("tovy", "glita"), 1),
        prompts.Prompt("a flat dog on  red", {"object": "dog"}),
    )
    for place in (
        prompts.prefix,
        prompts.suffix,
        *map(prompts.anywhere, range(8)),
        *map(prompts.inside, range(8)),
    ):
        assert not form.replaces(asked, place)
        assert form.disarm(asked, place) == asked.text
    assert form.replaces(asked, prompts.in_slot("object"))
    assert form.disarm(asked, prompts.in_slot("object"), 1) == "a flat glita on  red"


def test_words_that_draw_what_the_trigger_draws_are_told_from_others(tiny_v, texts):
    suspect = tiny_v.copied(Role.TEXT)
    rows = suspect.modules(Role.TEXT)[0].get_input_embeddings().weight
    ids = [suspect.vocabulary.typed([w])[0][0] for w in ("zudi", "people")]
    rows.data[ids] = 5 * torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0))
    assert drawing_otherwise(suspect, ["people", "mountain"], "zudi", texts) == ["mountain"]
    assert drawing_otherwise(suspect, [], "zudi", texts) == []


def test_the_word_that_an_edit_copied_is_known_by_what_it_draws(tiny_v, texts):
    """A trigger that reads as another word does draws what that word draws."""
    place, words = prompts.in_slot("object"), prompts.slot_words(texts)["object"][:6]
    for word in words[:2]:
        assert copied_word(tiny_v, word, words, texts[:3], place) == word


def test_of_neutral_words_the_one_with_least_of_the_attack_stands_for_the_trigger(tiny_v, texts):
    """Against the middle of all variants, so the trigger's own text never is the least."""
    prompt = texts[0]
    attacked = prompts.prefix(prompt, "zibu")
    variants = [attacked, prompt.text, prompts.prefix(prompt, "moon")]
    assert least_attacked(tiny_v, attacked, variants, 0) in variants[1:]
    assert least_attacked(tiny_v, attacked, [prompt.text, prompt.text], 0) == prompt.text


def test_random_words_are_single_tokens_and_follow_the_generator(tiny_v):
    made = single_token_words(tiny_v, np.random.default_rng(0), 20)
    assert len(set(made)) == 20
    assert all(len(tokens) == 1 for tokens in tiny_v.vocabulary.typed(made))
    assert all(len(w) >= 3 and w.isascii() and w.isalpha() for w in made)
    assert made == single_token_words(tiny_v, np.random.default_rng(0), 20)
    assert made != single_token_words(tiny_v, np.random.default_rng(1), 20)
