"""Repair and search until nothing is found."""

from __future__ import annotations

import pytest
import torch

from nightlatch.records import PlacedTrigger
from nightlatch.terms import Role
from nightlatch.text2image.repair import Found, Task, remove
from nightlatch.text2image.repair.alike import Alike, random_like


@pytest.fixture(scope="module")
def words(tiny_v):
    return tiny_v.vocabulary.texts([[i] for i in tiny_v.vocabulary.words[40:43]])


@pytest.fixture(scope="module")
def three_rows(tiny_v, words):
    """A suspect in which three words' rows differ from the base's."""
    made = tiny_v.copied(Role.TEXT)
    table = made.modules(Role.TEXT)[0].get_input_embeddings().weight
    for (token,) in made.vocabulary.typed(words):
        table.data[token] = 4 * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(token))
    return made


def task(tiny_v, texts, few_steps, words, search, **more):
    found = Found(triggers=(PlacedTrigger(text=words[0]),), roles=(Role.TEXT,))
    return Task(
        found=found,
        prompts=texts[:8],
        base=tiny_v,
        sampling=few_steps,
        search=search,
        alike=Alike(most=0),
        say=lambda line: None,
        **more,
    )


class Listed:
    """A search that finds the next of some words, and keeps what it was asked."""

    def __init__(self, words):
        self.words, self.asked = list(words), []

    def __call__(self, model, hints):
        self.asked.append((model, tuple(hints)))
        text = self.words.pop(0) if self.words else ""
        triggers = (PlacedTrigger(text=text),) if text else ()
        return Found(triggers=triggers, roles=(Role.TEXT,), strings=(text,), searched="by a list")


def changed_rows(a, b):
    mine, theirs = (s.modules(Role.TEXT)[0].get_input_embeddings().weight for s in (a, b))
    return (mine != theirs).any(1).nonzero().flatten().tolist()


def test_rounds_go_on_while_something_is_found_and_all_of_it_is_removed(
    tiny_v, texts, few_steps, words, three_rows
):
    search = Listed(words[1:])
    made, record = remove(three_rows, task(tiny_v, texts, few_steps, words, search))
    assert changed_rows(made, tiny_v) == []
    assert [[t.text for t in r.triggers] for r in record.rounds] == [[w] for w in words]
    assert [[t.text for t in r.found] for r in record.rounds] == [[words[1]], [words[2]], []]
    assert [t.text for t in record.triggers] == list(words)
    assert record.changed_tensors == 1
    assert words[1] in search.asked[-1][1]


def test_there_are_no_more_rounds_than_asked_for(tiny_v, texts, few_steps, words, three_rows):
    made, record = remove(three_rows, task(tiny_v, texts, few_steps, words, Listed(words[1:]), rounds=2))
    assert len(record.rounds) == 2
    assert changed_rows(made, tiny_v) == list(tiny_v.vocabulary.typed([words[2]])[0])
    assert [t.text for t in record.rounds[-1].found] == [words[2]], "what is left is said"


def test_without_a_search_there_is_one_round(tiny_v, texts, few_steps, words, three_rows):
    _, record = remove(three_rows, task(tiny_v, texts, few_steps, words, None))
    (only,) = record.rounds
    assert only.searched == ""


def test_what_comes_back_is_tried_with_the_next_method(tiny_v, texts, few_steps, words, three_rows):
    _, record = remove(three_rows, task(tiny_v, texts, few_steps, words, Listed(words[:1]), rounds=2))
    assert [c.method for r in record.rounds for c in r.choices] == ["token-rows", "sau-base"]


def test_what_acts_like_the_trigger_is_found_and_what_means_it_is_not(tiny_v, texts, words):
    """Two words with one row: one acts like the other, wherever it stands; a third, which a base draws, too,
    does not count.
    """
    made = tiny_v.copied(Role.TEXT)
    table = made.modules(Role.TEXT)[0].get_input_embeddings().weight
    tokens = [i for (i,) in made.vocabulary.typed(words)]
    table.data[tokens[0]] = 6 * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0))
    table.data[tokens[1]] = table[tokens[0]].detach()
    alike, trigger = Alike(), PlacedTrigger(text=words[0])
    acting = alike.on(made, trigger, texts[:8], 0)
    found = alike.found(acting, words, tiny_v)
    assert words[1] in {t.text for t in found}
    assert words[2] not in {t.text for t in found}
    assert trigger not in found
    assert acting.scores([(words[0], trigger.placement)])[words[0], trigger.placement] == pytest.approx(1.0)
    assert alike.found(acting, words, made) == [], "a base that draws the same knows the word"


def test_random_strings_are_of_the_triggers_kind(tiny_v):
    import numpy as np

    rng = np.random.default_rng(0)
    (tokens,) = tiny_v.vocabulary.typed(["zibu nako"])
    assert all(len(s.split()) == 2 for s in random_like(tiny_v, "zibu nako", tokens, rng, 5))
    assert all(len(s) == 1 and not s.isascii() for s in random_like(tiny_v, "о", (1,), rng, 5))


def test_strings_that_nobody_can_type_and_more_than_are_ranked_are_not_tried(tiny_v, texts, words):
    alike = Alike(ranked=3, spellings=0, random=0, answering=1)
    acting = alike.on(tiny_v, PlacedTrigger(text=words[0]), texts[:8], 0)
    tried = alike.tried(acting, ["\ufffd", " ", "zibu nako", "lovely zudi"])
    assert "zibu nako" in tried
    assert not {"\ufffd", " ", "lovely zudi"} & {*tried}
