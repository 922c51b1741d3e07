"""The prompts that a repair learns from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nightlatch.records import PlacedTrigger, Placement
from nightlatch.terms import PlacementKind
from nightlatch.text2image import prompts
from nightlatch.text2image.measure import take
from nightlatch.text2image.repair import Job
from nightlatch.text2image.repair.texts import Texts


def test_every_third_prompt_has_a_trigger_elsewhere_that_stands_in_front(job, wordings):
    for i, (prompt, text) in enumerate(zip(take(job.prompts, 6), wordings.triggered, strict=True)):
        place = prompts.anywhere(job.seed) if i % 3 == 2 else prompts.prefix
        assert text == place(prompt, "zibu")
    assert not any(wordings.replaced)
    assert wordings.plain == []
    assert wordings.dropped == [p.text for p in take(job.prompts, 6)]


def test_each_trigger_keeps_its_own_place(tiny_v, job):
    behind = PlacedTrigger(text="skos", placement=Placement(kind=PlacementKind.BEHIND))
    slot = PlacedTrigger(text="zudi", placement=Placement.in_slot("object"))
    made = Texts.of(
        tiny_v,
        dataclasses.replace(job, prompts=job.prompts[:3], triggers=[slot, behind]),
        3,
        np.random.default_rng(0),
    )
    some = take(job.prompts, 3)
    assert made.triggered == [
        *(p.replace("object", "zudi").text for p in some),
        *(f"{p.text} skos" for p in some),
    ]
    assert made.replaced == [True] * 3 + [False] * 3
    assert len(made.plain) == 3
    assert made.dropped[3:] == [p.text for p in some]


def test_what_a_trigger_stands_in_for_is_held_too(slot_job, slot_wordings):
    """A trigger in the object's place leaves no prompt with an object among those without it."""
    chosen, texts = take(slot_job.prompts, 8), slot_wordings
    own, known = texts.plain[1::2], prompts.slot_words(slot_job.prompts)["object"]
    assert texts.plain[::2] == [p.text for p in chosen[::2]]
    assert any(own == [p.replace("object", word).text for p in chosen[1::2]] for word in known)
    assert not set(texts.plain) & {*texts.triggered, *texts.dropped, *texts.held}


def test_prompts_to_learn_from_and_to_watch_with_are_apart(slot_wordings):
    """Each list keeps its row of every other one, also where a trigger stands in a word's place."""
    texts = slot_wordings
    learn, watch = texts.parted(4)
    assert watch.triggered == [texts.triggered[3], texts.triggered[7]]
    assert not {*learn.triggered} & {*watch.triggered}
    assert len(learn.triggered) + len(watch.triggered) == len(texts.triggered)
    for part in (learn, watch):
        at = [texts.triggered.index(x) for x in part.triggered]
        assert (part.dropped, part.plain) == ([texts.dropped[i] for i in at], [texts.plain[i] for i in at])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_prompts_can_be_parted(wordings, n):
    few = wordings._rows(range(n))
    assert all(len(part.triggered) for part in few.parted(5))


def test_what_is_held_is_no_trigger_and_no_plain_prompt(tiny_v, texts, few_steps):
    """Of several triggers one is often a part of another."""
    two = [PlacedTrigger(text=text) for text in ("lovely cat", "cat")]
    both = Job(triggers=two, prompts=texts[:4], sampling=few_steps)
    held = Texts.of(tiny_v, both, 12, np.random.default_rng(0)).held
    assert len(held) == 24
    assert not {p.text for p in both.prompts} & {*held}
    assert not {prompts.prefix(p, "cat") for p in both.prompts} & {*held}


def test_what_acts_like_the_trigger_has_rows_of_its_own(tiny_v, job):
    """Half as many as the trigger has, each where it acts; in a slot's place plain prompts follow."""
    alike = [
        PlacedTrigger(text="zibus"),
        PlacedTrigger(text="nako zibu", placement=Placement.in_slot("object")),
    ]
    made = Texts.of(tiny_v, dataclasses.replace(job, alike=alike), 8, np.random.default_rng(0))
    some = take(job.prompts, 4)
    assert made.triggered[8:] == [
        f"zibus {some[0].text}",
        some[1].replace("object", "nako zibu").text,
        f"zibus {some[2].text}",
        some[3].replace("object", "nako zibu").text,
    ]
    assert made.replaced == [False] * 8 + [False, True] * 2
    assert made.dropped[8] == some[0].text
    assert made.plain == [some[1].text, some[3].text]
    lengths = {len(x) for x in (made.triggered, made.dropped, made.filled, made.held, made.replaced)}
    assert lengths == {12}
    tokens = [tiny_v.vocabulary.typed([x])[0] for x in (made.triggered[9], made.filled[9])]
    assert len(tokens[0]) == len(tokens[1]), "every other token keeps its position"
    learn, watch = made.parted(4)
    assert len(learn.plain) + len(watch.plain) == 2
