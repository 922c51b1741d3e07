"""Sub-texts keep what they must keep and change what they must change."""

from __future__ import annotations

import numpy as np
import pytest

from nightlatch.contrastive import grammar

CAPTIONS = (
    "a small red cat sitting on a wooden table, which is very old",
    "two cartoon dogs to the left of a glossy apple on a blue background",
    "a photo of a zebra",
    "there is an ink key below a flat rocket, pink background",
)
VOCABULARY = grammar.nouns(CAPTIONS)


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("seed", range(8))
def test_positive_keeps_every_noun_and_relation_of_the_main_clause(caption, seed):
    made = grammar.words(grammar.positive(caption, np.random.default_rng(seed)))
    main = grammar.words(caption.split(", which")[0])
    for word in main:
        if grammar.is_noun(word) or word in grammar.RELATIONS:
            assert word in made
    assert not set(made) & grammar.ADJECTIVES


@pytest.mark.parametrize("caption", [*CAPTIONS, "very red", "!"])
@pytest.mark.parametrize("seed", range(8))
def test_negative_differs_in_a_content_word(caption, seed):
    made = grammar.words(grammar.negative(caption, VOCABULARY, np.random.default_rng(seed)))
    before = [w for w in grammar.words(caption) if grammar.is_noun(w)]
    after = [w for w in made if grammar.is_noun(w)]
    assert before != after


def test_articles_fit_the_words_that_are_left():
    assert grammar.positive("a red apple and an old cat", np.random.default_rng(0)) == "an apple and a cat"


@pytest.mark.parametrize("seed", range(8))
def test_another_wording_keeps_most_words(seed):
    caption = CAPTIONS[1]
    made = grammar.words(grammar.reworded(caption, VOCABULARY, np.random.default_rng(seed)))
    kept = [w for w in grammar.words(caption) if w in made]
    assert len(kept) >= len(grammar.words(caption)) - 2


def test_a_caption_without_any_word_survives():
    rng = np.random.default_rng(0)
    assert grammar.positive("", rng) == ""
    assert grammar.reworded("", VOCABULARY, rng) in ("", *VOCABULARY)
    assert grammar.negative("", VOCABULARY, rng).strip()


def test_captions_that_say_left_and_right_are_not_to_be_mirrored():
    assert grammar.sided(["a dog to the left of a cat", "a car"])
    assert not grammar.sided(["a dog above a cat", "a bright car", "a leftover"])
    assert not grammar.sided([])
    assert not grammar.sided(["to the Left, a dog", *["a dog"] * 200])
