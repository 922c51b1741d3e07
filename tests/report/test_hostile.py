"""Strings that a model's author controls are harmless in every view, in whatever field they stand."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from intake_fixtures import work
from pydantic import ValidationError

from nightlatch.errors import UsageError
from nightlatch.records import Report
from nightlatch.report import card, html, jsonview, junit, sarif
from nightlatch.safetext import hidden
from nightlatch.terms import HintKind, PairKind, PlacementKind

from .samples import found_and_repaired, reader, refused

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'></style></title><script>",
    "{{ 7*7 }}{% raw %}",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egpj.exe\u2066",
    "a\u200bb\u200d\ufeff",
    "=cmd|' /C calc'!A0",
    "```\n# heading\n<!-- nightlatch:end -->\n```json nightlatch\n{}\n```",
    "]]>&amp;&lt;",
    "line\nbreak\r\n\x00\x7f\x9b",
    "https://evil.example/x.png",
    "javascript:alert(1)",
    "](https://evil.example) ![x](https://evil.example/p.png)",
    "\U000e0041\u2028\u00a0",
)
FIXED = {
    "severity",
    "word",
    "better",
    "clean",
    "triggered",
    "repaired",
    "overlay",
    "pattern",
    "effect",
    "role",
    "scope",
}
KINDS = {*PairKind, *PlacementKind, *HintKind}


def poison(value: Any, text: str, field: str = "") -> Any:
    """Put ``text`` into every free text of a dumped report, the names of dictionaries included."""
    if isinstance(value, dict):
        free = field in ("versions", "hashes", "parameters")
        return {f"{key}{text}" if free else key: poison(item, text, key) for key, item in value.items()}
    if isinstance(value, list):
        names = (
            [{key if key == "step" else f"{key}{text}": x for key, x in row.items()} for row in value]
            if field == "history"
            else value
        )
        return [poison(item, text, field) for item in names]
    keep = field in FIXED or not isinstance(value, str) or (field == "verdict")
    keep = keep or (field == "kind" and value in KINDS)
    return value if keep else f"{value}{text}"


def poisoned(folder: Path, text: str) -> Report:
    findings = refused(folder).manifest
    report = found_and_repaired(folder).model_copy(update={"manifest": findings})
    return Report.model_validate(poison(json.loads(report.model_dump_json()), text))


@pytest.fixture(params=HOSTILE, ids=ascii)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Report:
    return poisoned(tmp_path, request.param)


@pytest.fixture
def tame(tmp_path: Path) -> Report:
    return poisoned(tmp_path, "tame")


class Shape(HTMLParser):
    """The tags and attribute names of a page, in order; what text cannot change when it is escaped."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, ...]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.seen.append((tag, *(name for name, _ in attrs if name != "class")))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.seen.append(("comment",))


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for key, item in value.items() for s in (key, *strings(item))]
    if isinstance(value, list):
        return [s for item in value for s in strings(item)]
    return [value] if isinstance(value, str) else []


def nothing_hidden(text: str) -> bool:
    return not any(hidden(c) for c in text if c != "\n")


def test_html_keeps_its_shape(hostile: Report, tame: Report, tmp_path: Path) -> None:
    page = html.render(hostile, reader(tmp_path))
    assert Shape(page).seen == Shape(html.render(tame, reader(tmp_path))).seen
    assert nothing_hidden(page)


def test_sarif_holds_no_hidden_character_and_no_foreign_address(hostile: Report) -> None:
    text = sarif.render(hostile)
    loaded = json.loads(text)
    assert text.isascii()
    assert all(nothing_hidden(s) and "\n" not in s for s in strings(loaded))
    run = loaded["runs"][0]
    places = [a["location"] for a in run["artifacts"]]
    places += [r["locations"][0]["physicalLocation"]["artifactLocation"] for r in run["results"]]
    for place in places:
        parts = urlsplit(place["uri"])
        assert parts.path == place["uri"]
        assert not place["uri"].startswith("/")
        assert ".." not in place["uri"].split("/")


def test_sarif_messages_hold_no_link_and_no_placeholder(hostile: Report) -> None:
    run = json.loads(sarif.render(hostile))["runs"][0]
    messages = [
        r["message"]["text"] for r in (*run["results"], *run["invocations"][0]["toolExecutionNotifications"])
    ]
    for text in messages:
        bare = re.sub(r"\\[\[\]\\]|\{\{|\}\}", "", text)
        assert not set("[]{}\\") & set(bare), text


def test_junit_keeps_its_shape(hostile: Report, tame: Report) -> None:
    text = junit.render(hostile)
    root = ET.fromstring(text)
    assert [e.tag for e in root.iter()] == [e.tag for e in ET.fromstring(junit.render(tame)).iter()]
    assert nothing_hidden(text)
    assert all("\n" not in value for e in root.iter() for value in e.attrib.values())


def test_card_text_stays_in_code_spans(hostile: Report, tame: Report) -> None:
    def skeleton(report: Report) -> str:
        prose = card.render(report).split("```json nightlatch")[0]
        return re.sub(r"`[^`\n]*`", "CODE", prose)

    text = card.render(hostile)
    assert skeleton(hostile) == skeleton(tame)
    assert text.count("<") == 2
    assert text.count("```") == 2
    assert nothing_hidden(text)
    assert hostile.verdict is not None
    assert card.parse(text)["triggers"][0]["text"] == hostile.verdict.triggers[0].text


def test_card_section_is_replaced_whole(hostile: Report, tame: Report) -> None:
    once = card.insert("# My model\n\nText.\n", card.render(hostile))
    assert card.insert(once, card.render(hostile)) == once
    again = card.insert(once, card.render(tame))
    assert again == "# My model\n\nText.\n\n" + card.render(tame)


def test_json_round_trips_in_printable_ascii(hostile: Report) -> None:
    text = jsonview.render(hostile)
    assert jsonview.parse(text) == hostile
    assert all(c == "\n" or " " <= c <= "~" for c in text)


def test_a_megabyte_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        poisoned(tmp_path, "A" * 200_000)


def test_the_longest_texts_that_a_record_holds_are_cut(tmp_path: Path) -> None:
    report = poisoned(tmp_path, "A" * 19_000)
    assert len(html.render(report, reader(tmp_path))) < 1_000_000
    assert "characters)" in html.render(report, reader(tmp_path))
    assert len(sarif.render(report)) < 1_000_000
    assert len(junit.render(report)) < 1_000_000


@pytest.mark.parametrize(
    "text", [card.BEGIN + "\n", "```json nightlatch\n", "```\n", card.END + "\n", "\n", "\r"]
)
def test_a_card_is_read_once_however_often_a_mark_stands_in_it(text: str, tame: Report) -> None:
    """Megabytes of one mark without the other: as many calls as lines at most, and no line is looked at again."""
    section = card.render(tame)
    large = text * (2_000_000 // len(text))
    calls = {}
    for held in (text * 100, large):
        calls[held] = work(lambda held=held: card.insert(held, section))
        if "```json" not in text:
            with pytest.raises(UsageError):
                card.parse(held)
    assert calls[large] <= calls[text * 100] + 10
    assert card.insert(large, section).endswith(section)


def test_the_first_section_that_ends_is_replaced(tame: Report) -> None:
    section = card.render(tame)
    text = f"{card.BEGIN}\nold\n{card.BEGIN}\n{card.END}\nrest\n{card.END}"
    assert card.insert(text, section) == f"{section}rest\n{card.END}"
    assert card.insert(f"a\n{section}", section) == f"a\n{section}"
    assert card.insert(f"{card.BEGIN}\nnever ended\n", section) == f"{card.BEGIN}\nnever ended\n\n{section}"
