from __future__ import annotations

import pytest

from nightlatch.errors import UsageError
from nightlatch.text2image import prompts
from nightlatch.text2image.prompts import Prompt


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


def test_open_slot_is_appended():
    assert Prompt("a cat", {}).replace("style", "flat").text == "a cat, flat"


@pytest.mark.parametrize("word", ["\\o/", "\\1", "\\g<0>", "a\\"])
def test_a_word_with_a_backslash_is_a_word(word):
    assert Prompt("a red cat", {"object": "cat"}).replace("object", word).text == f"a red {word}"
    assert word in Prompt("a cat", {"object": "cat"}).replace("object", word).text


def test_prompts_chosen_unlike_each_other_share_no_filling_while_others_are_left():
    rows = [("owl", "ink"), ("cat", "ink"), ("owl", "flat"), ("cat", "flat"), ("dog", "ink")]
    made = [Prompt(f"{o} {s}", {"object": o, "style": s}) for o, s in rows]
    assert [p.text for p in prompts.diverse(made, 3)] == ["owl ink", "cat flat", "dog ink"]
    assert sorted(p.text for p in prompts.diverse(made, 9)) == sorted(p.text for p in made)
    assert [p.text for p in prompts.diverse([Prompt("a"), Prompt("b")], 1)] == ["a"], (
        "without slots the order stays"
    )


def test_words_of_slots_are_those_that_the_prompts_fill_them_with():
    made = [
        Prompt("a dog", {"object": "dog"}),
        Prompt("an ink cat", {"object": "cat", "style": "ink"}),
        Prompt("a bus"),
    ]
    assert prompts.slot_words(made) == {"object": ["cat", "dog"], "style": ["ink"]}


def test_general_prompts_hold_what_their_slots_say():
    made = prompts.general(50, 3)
    assert len({p.text for p in made}) == 50
    assert all(word in p.text for p in made for word in p.slots.values())
    assert made == prompts.general(50, 3)
    assert len(prompts.general(10_000, 0)) == 30 * 6 * 8, "there are no more"


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
