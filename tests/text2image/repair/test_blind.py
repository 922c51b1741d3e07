"""A repair that is told no trigger: what it searches with, what it leaves alone, what it says."""

from __future__ import annotations

import math

import pytest
import torch

from nightlatch.records import Placement
from nightlatch.text2image import prompts
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.blind import Search
from nightlatch.text2image.repair.soft import Soft, random_strings, table, unasked

FEW = {"sweep": 128, "strings": 2, "length": 1, "steps": 4, "prompts": 3, "random": 4}


@pytest.fixture(scope="module")
def usual(tiny_v, texts):
    import numpy as np

    tokens = unasked(tiny_v, texts[:50])
    logits = random_strings(tiny_v, tokens, 1, 3, np.random.default_rng(0))
    return Soft(logits, tokens, prompts.prefix, "zudi")


def test_a_string_that_leaves_one_token_is_read_as_that_token(tiny_v, texts, usual):
    first = usual.tokens[usual.logits.argmax(-1)].tolist()
    for k, text in enumerate(usual.typed(tiny_v)):
        if list(tiny_v.vocabulary.typed([text])[0]) == first[k]:
            mine = usual.condition(tiny_v, texts[:2], k).states
            theirs = tiny_v.read([f"{text} {p.text}" for p in texts[:2]]).states
            assert torch.allclose(mine, theirs, atol=1e-5)


def test_mixtures_stay_among_the_tokens_and_keep_gradients(tiny_v, texts, usual):
    logits = torch.zeros_like(usual.logits).requires_grad_()
    soft = Soft(logits, usual.tokens, usual.place, usual.stand_in)
    rows = table(tiny_v)[usual.tokens]
    assert torch.allclose(soft.embedded(tiny_v)[0, 0], rows.mean(0), atol=1e-5)
    soft.condition(tiny_v, texts[:2], 0).states[..., 0].sum().backward()
    assert float(logits.grad[0].abs().sum()) > 0


def test_words_of_ordinary_prompts_are_not_searched(tiny_v, texts):
    kept = set(unasked(tiny_v, texts[:50]).tolist())
    for p in texts[:5]:
        assert not kept & set(tiny_v.vocabulary.typed([p.text])[0])


def test_what_is_found_moves_more_than_random_strings_and_less_afterwards(loud_token, job):
    search = Search(**FEW, excess=0.0)
    soft, excess, _ = search(loud_token, job.prompts, Placement(), 0)
    free = job.__class__(triggers=(), prompts=job.prompts, sampling=job.sampling)
    part = METHODS.create(
        "blind", rounds=1, steps=16, batch=12, prompts=12, rate=1e-3, search=search, harm_limit=math.inf
    )
    repaired, record = part(loud_token, free)
    assert record.changed_tensors > 0
    assert {t.text for t in record.triggers} >= {t for t in soft.typed(loud_token) if t.split()}
    step, k = OneStep.at_share(loud_token, 5), int(excess.argmax())
    before, after = (
        (search._out(s, soft, k, job.prompts, step) - plain(s, job.prompts, step)).pow(2).mean()
        for s in (loud_token, repaired)
    )
    assert float(after) < float(before)


@torch.no_grad()
def plain(subject, texts, step):
    return step.outputs(subject, subject.read([f"zibu {p.text}" for p in texts]))


def test_a_model_in_which_nothing_stands_out_is_left_as_it_is(tiny_v, job):
    part = METHODS.create("blind", rounds=2, search=Search(**FEW, excess=math.inf))
    _, record = part(tiny_v, job.__class__(triggers=(), prompts=job.prompts, sampling=job.sampling))
    assert record.changed_tensors == 0
    assert record.triggers == ()
    assert record.steps == 2, "a look at the weights and a search"
    assert "no edit was taken back" in record.left[0]
    assert "none was unlearnt" in record.left[1]
