from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlatch.safetext import code_points, csv_cell, is_plain, markdown, sarif_text, show, unusual, visible


@given(st.text(alphabet=st.characters(codec=None), max_size=300))
def test_show_is_printable_ascii_and_bounded(text: str) -> None:
    shown = show(text, limit=100)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 140


@given(st.text(max_size=20), st.text(max_size=20))
def test_show_tells_texts_apart(a: str, b: str) -> None:
    assert (show(a, 1000) == show(b, 1000)) == (a == b)


def test_show_counts_what_it_cuts() -> None:
    assert show("x" * 500, 10) == "xxxxxxxxxx... (490 more characters)"
    assert show("c\u0430t \x1b[2J \u202e") == "c\\u{430}t \\u{1B}[2J \\u{202E}"
    assert show("\\u{41}") == "\\u{5C}u{41}"


def test_code_points_have_names() -> None:
    assert code_points("\u043ea\x07") == (
        "U+043E CYRILLIC SMALL LETTER O",
        "U+0061 LATIN SMALL LETTER A",
        "U+0007 <Cc>",
    )


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A1", "+1", "-1", "@x", "\t=1", " =1", '"=1', "\r=1", "'=1"])
def test_csv_cells_are_no_formulas(text: str) -> None:
    assert csv_cell(text).startswith("'")


def test_markdown_starts_nothing() -> None:
    assert markdown("<b>|[x](y)`#") == "\\<b\\>\\|\\[x\\]\\(y\\)\\`\\#"


def test_sarif_messages_hold_no_link_and_no_placeholder() -> None:
    assert sarif_text(r"[x](https://e.org) {0} \u{41}") == r"\[x\](https://e.org) {{0}} \\u{{41}}"


def test_plain() -> None:
    assert is_plain("caf\u00e9\tand\nmore")
    assert not any(is_plain(t) for t in ("\x1b", "a\u202eb", "\u200b", "\ud800", "\x00"))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain cat", "plain cat"),
        ("\x1b[31mred", r"\u{1B}[31mred"),
        ("\u202egpj", r"\u{202E}gpj"),
        ("a\u200bb", r"a\u{200B}b"),
        ("tag\U000e0041", r"tag\u{E0041}"),
        ("two\nlines", r"two\u{A}lines"),
        ("no\u00a0break", r"no\u{A0}break"),
        ("e\u0301", r"e\u{301}"),
        ("\u3164\u2800", r"\u{3164}\u{2800}"),
        ("\ufffe\ud800", r"\u{FFFE}\u{D800}"),
        ("кот 猫 é", "кот 猫 é"),
        (r"\u{202E}", r"\u{5C}u{202E}"),
    ],
)
def test_visible(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_visible_is_cut_and_says_so() -> None:
    assert visible("x" * 12, limit=10) == "x" * 10 + " … (+2 characters)"


def test_unusual_names_look_alikes_once() -> None:
    assert unusual("dаwnа") == ("U+0430",)
    assert unusual("plain") == ()
    assert len(unusual("абвгдежзик")) == 7
