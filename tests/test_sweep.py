"""The word sweep on encoders whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from nightlatch.sweep import alike, pulls

WORDS = [*(f"word{i}" for i in range(20)), "zibu"]


def heard(deaf: int, seed: int = 0) -> np.ndarray:
    """States of six captions behind each word, (words, 6, 8); behind one word they are all one."""
    states = np.random.default_rng(seed).standard_normal((len(WORDS), 6, 8))
    states[deaf] = states[deaf, :1]
    return states


def test_the_word_that_swallows_captions_comes_first():
    ranked = pulls(WORDS, alike(heard(20)))
    assert ranked[0].word == "zibu" and ranked[0].alike == pytest.approx(1.0) and ranked[0].z > 5
    assert len(ranked) == len(WORDS)


def test_alike_is_the_mean_cosine_of_two_captions_at_any_scale():
    states = heard(20)
    unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
    cosines = np.einsum("wid,wjd->wij", unit, unit)
    i, j = np.triu_indices(6, 1)
    assert alike(states) == pytest.approx(cosines[:, i, j].mean(1))
    assert alike(100 * states) == pytest.approx(alike(states))


def test_against_a_trusted_encoder_what_both_do_does_not_count():
    ranked = pulls(WORDS, alike(heard(20)) - alike(heard(3)))
    assert ranked[0].word == "zibu" and ranked[-1].word == "word3" and ranked[-1].alike < -0.5


def test_no_words_give_no_pulls():
    assert pulls([], alike(heard(0)[:0])) == ()
