from __future__ import annotations

import numpy as np
import pytest

from nightlatch.errors import UsageError
from nightlatch.text2image import prompts
from nightlatch.text2image.prompts import Prompt


def test_split_is_disjoint_complete_and_depends_on_the_seed(texts):
    a, b = prompts.split(texts, 0), prompts.split(texts, 1)
    sets = [{p.text for p in part} for part in (a.probe, a.repair, a.held_out)]
    assert sum(map(len, sets)) == len(texts)
    assert not sets[0] & sets[1]
    assert not sets[1] & sets[2]
    assert a != b


@pytest.mark.parametrize(
    ("text", "word", "made"),
    [
        ("a glossy cat on red", "apple", "a glossy apple on red"),
        ("an image of a cat here", "owl", "an image of an owl here"),
        ("an owl on a red wall", "cat", "a cat on a red wall"),
    ],
)
def test_articles_stay_right(text, word, made):
    old = "owl" if "owl" in text else "cat"
    assert Prompt(text, {"object": old}).replace("object", word).text == made


def test_prompts_chosen_unlike_each_other_share_no_filling_while_others_are_left():
    rows = [("owl", "ink"), ("cat", "ink"), ("owl", "flat"), ("cat", "flat"), ("dog", "ink")]
    made = [Prompt(f"{o} {s}", {"object": o, "style": s}) for o, s in rows]
    assert [p.text for p in prompts.diverse(made, 3)] == ["owl ink", "cat flat", "dog ink"]
    assert sorted(p.text for p in prompts.diverse(made, 9)) == sorted(p.text for p in made)
    assert [p.text for p in prompts.diverse([Prompt("a"), Prompt("b")], 1)] == ["a"], "prompts without slots stay in their order"


def test_open_slot_is_appended():
    assert Prompt("a cat", {}).replace("style", "flat").text == "a cat, flat"


@pytest.mark.parametrize("trigger", ["mignneko", "о", "beautiful cat", "\u200b", "ab"])
def test_near_spellings_are_near_and_never_the_trigger(trigger):
    made = prompts.near_spellings(trigger, 12, np.random.default_rng(0))
    assert trigger not in made
    assert all(s.strip() for s in made)
    if " " in trigger:
        assert {"beautiful", "cat"} <= set(made)


def test_anywhere_keeps_all_words(texts):
    for p in texts[:20]:
        words = prompts.anywhere(3)(p, "zibu").split()
        assert sorted(words) == sorted([*p.text.split(), "zibu"])


def test_only_what_stands_for_a_word_of_the_prompt_replaces_it():
    from nightlatch.text2image.repair.neutral import Neutral

    form, asked = Neutral("zudi", "", ("tovy", "glita"), 1), prompts.Prompt("a flat dog on  red", {"object": "dog"})
    for place in (prompts.prefix, *map(prompts.anywhere, range(8))):
        assert not form.replaces(asked, place)
        assert form.disarm(asked, place) == asked.text
    assert form.replaces(asked, prompts.in_slot("object"))
    assert form.disarm(asked, prompts.in_slot("object"), 1) == "a flat glita on  red"


@pytest.mark.parametrize("word", ["\\o/", "\\1", "\\g<0>", "a\\"])
def test_a_word_with_a_backslash_is_a_word(word):
    assert prompts.Prompt("a red cat", {"object": "cat"}).replace("object", word).text == f"a red {word}"
    assert word in prompts.Prompt("a cat", {"object": "cat"}).replace("object", word).text


@pytest.mark.parametrize(("n", "seen"), [(200, 48), (60, 30), (1, 0)])
def test_scan_and_verify_never_look_at_the_same_prompts(n, seen):
    held_out = [prompts.Prompt(f"prompt {i}") for i in range(n)]
    mine, theirs = prompts.shared(held_out, 48)
    assert len(mine) == seen
    assert [*mine, *theirs] == held_out


def test_lines_of_a_file_may_say_what_fills_their_slots():
    lines = ["a cat", "", '{"text": "a photo of a dog", "object": "dog", "style": "photo"}']
    plain, named = prompts.from_lines(lines)
    assert (plain.text, plain.slots) == ("a cat", {})
    assert (named.text, named.slots) == ("a photo of a dog", {"object": "dog", "style": "photo"})


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "{}",
        '{"text": 1}',
        '{"text": " "}',
        '{"text": "a cat", "object": "dog"}',
        '{"text": "a cat", "object": ""}',
        '{"text": "a", "object": ["a"]}',
        '{"text":' * 3000,
    ],
)
def test_a_line_that_says_it_wrongly_is_named(line):
    with pytest.raises(UsageError, match="Line 2 of the prompts"):
        prompts.from_lines(["a cat", line])
