from __future__ import annotations

import numpy as np

from nightlatch.text2image import measure
from nightlatch.text2image.prompts import Prompt


def test_items_are_taken_round_again_where_there_are_too_few():
    assert measure.take("abc", 7) == list("abcabca")


def test_draws_keep_prompt_and_seed_together():
    draws = measure.Draws.of([Prompt("a"), Prompt("b")], 5, seed=2)
    assert [p.text for p in draws.prompts] == list("ababa")
    assert len(set(draws.seeds)) == 5
    assert draws.at([3, 0]).prompts == (Prompt("b"), Prompt("a"))
    assert draws.at([3, 0]).seeds == (draws.seeds[3], draws.seeds[0])
    assert not set(draws.seeds) & set(measure.seeds(5, 3))


def test_prompts_that_leave_the_slot_open_do_not_count():
    seen = [{"object": "cat"}, {"object": "cat"}, {"object": "dog"}]
    asked = [Prompt("a cat", {"object": "cat"}), Prompt("a dog", {"object": "dog"}), Prompt("a bus")]
    assert measure.agrees(seen, asked, "object") == measure.Rate.of(1, 2)


def test_agreement_draws_every_prompt_once(tiny_v, few_steps, judge):
    asked = [Prompt("a cat", {"object": "cat"}), Prompt("a dog", {"object": "dog"})]
    rate = measure.agreement(tiny_v, asked, judge, few_steps, 0)
    images = tiny_v.generate([p.text for p in asked], measure.seeds(2, 0), few_steps)
    assert rate.n == 2
    assert rate.hits == sum(
        s["object"] == p.slots["object"] for s, p in zip(judge.read(images), asked, strict=True)
    )
    assert images.dtype == np.uint8
