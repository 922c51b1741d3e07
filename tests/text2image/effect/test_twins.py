"""Words that are told apart by the text encoder and not by the matrices that read it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nightlatch.terms import Role
from nightlatch.text2image.effect import twins
from nightlatch.text2image.effect.edit import Pairs, apply
from nightlatch.text2image.effect.twins import Level, Words


@pytest.fixture(scope="module")
def words(tiny_v):
    return Words.of(tiny_v)


@pytest.fixture(scope="module")
def edited(tiny_v):
    """A suspect whose readers answer to "zudi" as to "cat"."""
    made = tiny_v.copied(Role.DENOISER)
    zudi, cat = (tiny_v.read([w]).states[:, 1] for w in ("zudi", "cat"))
    apply(made.sites.readers(), Pairs(zudi, cat, cat), lam=1e-6, keep=1.0)
    return made


def pair(words, subject, level):
    return words.strongest(*words.nearest(subject.sites.readers(), level), level)


def tokens(subject, *texts):
    return {ids[0] for ids in subject.vocabulary.typed(texts)}


def test_states_are_those_of_each_token_alone_in_a_prompt(tiny_v, words):
    mine = words.at(*tokens(tiny_v, "cat")) - words.at(*tokens(tiny_v, "dog"))
    cat, dog = tiny_v.read(["cat", "dog"]).states[:, 1]
    torch.testing.assert_close(mine, cat - dog, atol=1e-4, rtol=1e-4)
    assert float(words.states.mean(0).abs().max()) < 1e-4


def test_cosines_are_those_of_all_answers_end_to_end(tiny_v, words):
    readers = tiny_v.sites.readers()
    each = [words.states @ w.T for w in readers.values()]
    whole = F.normalize(torch.cat([y / y.pow(2).sum(1).mean().sqrt() for y in each], 1), dim=1)
    short = words._answers(readers)
    assert short.shape == words.states.shape
    torch.testing.assert_close(short[:40] @ short.T, whole[:40] @ whole.T, atol=1e-3, rtol=1e-3)


def test_what_an_edit_joins_is_the_strongest_pair_and_an_honest_model_has_none(
    tiny_v, edited, words, monkeypatch
):
    level = Level()
    honest, found = (pair(words, s, level) for s in (tiny_v, edited))
    assert honest.alike < level.alike <= found.alike
    assert honest.many == 0 < found.many
    assert set(found.tokens) == tokens(tiny_v, "zudi", "cat")
    assert found.apart <= level.apart
    monkeypatch.setattr(twins, "BATCH", 7)
    again = pair(words, edited, level)
    assert again.alike == pytest.approx(found.alike, abs=1e-5)
    assert set(again.tokens) == set(found.tokens)


def test_a_few_words_are_held_against_all(edited, words):
    level, readers, some = Level(), edited.sites.readers(), torch.tensor([3, 50, 7])
    (all_best, all_other), (best, other) = (words.nearest(readers, level, r) for r in (None, some))
    torch.testing.assert_close(best[some], all_best[some])
    assert torch.equal(other[some], all_other[some])
    rest = torch.ones(len(best), dtype=torch.bool)
    rest[some] = False
    assert bool((best[rest] == -1.0).all())


def test_words_that_mean_the_same_to_the_encoder_are_no_twins(edited, words):
    assert pair(words, edited, Level(apart=-1.0)).alike == -1.0
