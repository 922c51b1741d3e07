"""The page is self-contained, says the verdict in the record's words, and says so when something is
missing.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nightlatch import exits
from nightlatch.errors import UsageError
from nightlatch.records import Finding, Images, Pair, Part, PlacedTrigger, Rate, Repair, Report, Verdict
from nightlatch.report import html, svg
from nightlatch.report.images import Pictures
from nightlatch.report.words import headline
from nightlatch.terms import PairKind

from .samples import (
    KINDS,
    environment,
    found,
    found_and_repaired,
    manifest,
    nothing,
    reader,
    refused,
    scorecard,
)


class Links(HTMLParser):
    """Collects every attribute that a browser could follow, and the tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [
            value or ""
            for name, value in attrs
            if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href")
        ]


@pytest.fixture(params=KINDS, ids=str)
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Report:
    made: Report = KINDS[request.param](tmp_path)
    return made


def test_page_fetches_nothing(report: Report, tmp_path: Path) -> None:
    page = html.render(report, reader(tmp_path))
    seen = Links(page)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in seen.links)
    assert seen.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_page_has_the_verdict_and_never_says_safe(report: Report, tmp_path: Path) -> None:
    page = html.render(report, reader(tmp_path))
    word = report.verdict.word if report.verdict else "not scanned"
    assert f"<span>{word}</span></h1>" in page
    assert headline(report).action in page
    assert not re.search(r"\bsafe\b|no issues", page, re.IGNORECASE)
    assert "What was not tested" in page
    assert "Limits" in page


def test_found_and_repaired_page_is_complete(tmp_path: Path) -> None:
    page = html.render(found_and_repaired(tmp_path), reader(tmp_path))
    said = (
        "98.7 %",
        "0.0 to 1.2 %",
        "repair: removed",
        "Scan the repaired copy",
        "CYRILLIC SMALL LETTER A",
        "4711",
        "missed",
    )
    for words in (
        *said,
        "Skipped: 1 part",
        "look-alike",
        "0.7 %",
        "4.13 %",
        "300 optimisation steps",
        "--seed 7",
        "The trigger acts in the denoiser &amp; nowhere else.",
        "Round by round",
        "<bdi>sibling</bdi></code> in the object&#39;s place",
        "<bdi>left over</bdi></code> in front",
        "ab" * 32,
    ):
        assert words in page
    assert page.count("data:image/png;base64,") == 12
    assert page.count('<figure class="plot">') == 2
    assert "1 measure of 4 missed the bar" in page


def test_missing_parts_are_said_in_words(tmp_path: Path) -> None:
    assert "Nothing was repaired" in html.render(found(tmp_path), reader(tmp_path))
    assert "with the trigger, repaired" not in html.render(found(tmp_path), reader(tmp_path))
    assert "Every part that was asked for ran." in html.render(nothing(tmp_path), reader(tmp_path))
    page = html.render(refused(tmp_path), reader(tmp_path))
    for words in ("Refuse it.", "shard-path", "no scan has finished"):
        assert words in page
    for section in ("pictures", "before-after", "fingerprint", "candidates"):
        assert f'id="{section}"' not in page


def test_a_kind_that_is_not_scanned_is_not_accused(tmp_path: Path) -> None:
    told = Finding(
        rule="unsupported-pipeline",
        severity="note",
        file="",
        sentence="It is an SDXL pipeline.",
        unsupported=True,
    )
    report = Report(
        source="x", environment=environment(), manifest=manifest(told), verdict=Verdict(word="not scanned")
    )
    top = headline(report)
    assert top.status == "unknown"
    assert "not scanned" in top.action and "Refuse" not in top.action
    assert exits.of_report(report) == 2


def test_smallest_report_renders() -> None:
    page = html.render(Report(source="x", environment=environment()))
    assert "not scanned" in page
    assert "Do not load it before a scan has finished" in page


def test_repair_without_proof_is_not_called_removed(tmp_path: Path) -> None:
    top = headline(found_and_repaired(tmp_path).model_copy(update={"scorecard": None}))
    assert (top.repair, top.repair_status) == ("not verified", "unknown")
    assert "before “nightlatch verify”" in top.action


@pytest.mark.parametrize(
    ("verdict", "action"),
    [
        ("harmed", "Refuse both"),
        ("not removed", "Refuse it"),
        ("not verified", "Do not load"),
        ("removed", "Do not load the original. Scan"),
    ],
)
def test_action_follows_the_scorecard(verdict: str, action: str, tmp_path: Path) -> None:
    card = scorecard().model_copy(update={"verdict": verdict})
    top = headline(found_and_repaired(tmp_path).model_copy(update={"scorecard": card}))
    assert (top.repair, top.action.startswith(action)) == (verdict, True)


@pytest.mark.parametrize(
    ("before", "remedy"), [(Rate.of(24, 24), "(-n)"), (Rate.of(1, 24), "trigger, prompts and settings")]
)
def test_why_it_is_not_verified_says_what_to_do(before: Rate, remedy: str, tmp_path: Path) -> None:
    pairs = (
        Pair(kind=PairKind.SUCCESS, name="attack success", before=before, after=Rate.of(0, 24), passed=True),
    )
    card = scorecard().model_copy(update={"verdict": "not verified", "pairs": pairs})
    assert remedy in headline(found_and_repaired(tmp_path).model_copy(update={"scorecard": card})).action


def test_rolled_back_repair_outranks_the_scorecard(tmp_path: Path) -> None:
    report = found_and_repaired(tmp_path)
    assert report.repair is not None
    top = headline(
        report.model_copy(update={"repair": report.repair.model_copy(update={"rolled_back": True})})
    )
    assert top.repair == "rolled back"
    assert top.action.startswith("Refuse it")


def test_refused_files_outrank_everything(tmp_path: Path) -> None:
    report = nothing(tmp_path).model_copy(update={"manifest": refused(tmp_path).manifest})
    assert headline(report).action == "Refuse it."


def test_trigger_given_by_a_person_is_not_called_found() -> None:
    repair = Repair(
        method=Part(name="sau"),
        triggers=(PlacedTrigger(text="zint"),),
        steps=1,
        seconds=1.0,
        used_base=False,
        changed_tensors=1,
        changed_share=0.1,
    )
    page = html.render(Report(source="x", environment=environment(), repair=repair))
    assert "Trigger given by a person" in page
    assert "recovered by the scan" not in page


@pytest.mark.parametrize(
    "name",
    ["../out.png", "/etc/passwd", "images/../../out.png", r"..\out.png", r"C:\out.png", "//host/x", "a\0b"],
)
def test_picture_paths_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "run").mkdir()
    report = Report(source="x", environment=environment(), images=(Images(prompt="p", seed=1, overlay=name),))
    with pytest.raises(UsageError, match="leaves the run folder"):
        html.render(report, reader(tmp_path / "run"))


def test_a_picture_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "run" / "images").mkdir(parents=True)
    (tmp_path / "run" / "images" / "in.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(UsageError, match="cannot be opened"):
        Pictures(reader(tmp_path / "run")).uri("images/in.png")


def test_only_pictures_are_inlined(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_text("<svg onload='alert(1)'/>")
    pictures = Pictures(reader(tmp_path))
    assert pictures.uri("images/x.png") == pictures.uri("images/missing.png") == ""
    report = Report(
        source="x", environment=environment(), images=(Images(prompt="p", seed=1, clean="images/x.png"),)
    )
    assert "no picture" in html.render(report, reader(tmp_path))


def test_pictures_are_bounded_together() -> None:
    read = list[str]()

    def png(name: str) -> bytes:
        read.append(name)
        return b"\x89PNG\r\n\x1a\n".ljust(1_000, b"x")

    pictures = Pictures(png, together=2_500)
    assert [bool(pictures.uri(f"images/{i}.png")) for i in range(6)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert len(read) == 3


def test_curves_skip_what_cannot_be_drawn() -> None:
    history = [
        {"step": 0.0, "loss": 1.0, "flat": 2.0, "one": 1.0},
        {"step": 1.0, "loss": float("nan"), "flat": 2.0},
        {"step": 2.0, "loss": 0.5},
    ]
    drawn = svg.curves(history)
    assert len(drawn) == 2
    assert "nan" not in "".join(drawn)
    assert svg.intervals(None, Rate.of(0, 0)) == ""
    assert 'width="0.0"' in svg.bar(float("nan"))


def test_the_trigger_is_marked_in_the_prompt_and_the_next_command_is_shown(tmp_path: Path) -> None:
    page = html.render(found(tmp_path), reader(tmp_path))
    assert re.search(r"<mark><bdi>vexoril d.wn</bdi>", page)
    assert (
        "nightlatch clean suspects/badt2i-object-1 -o suspects/badt2i-object-1-repaired --run runs/one"
        in page
    )
    assert page.index("data:image/png") < page.index("What was tested")
    page = html.render(found_and_repaired(tmp_path), reader(tmp_path))
    assert "nightlatch scan repaired --base testbed" in page
    assert "The original" in page and "The repaired copy" in page
    assert 'class="card hero repaired"' in page


def test_a_trigger_that_the_prompt_does_not_hold_is_not_marked() -> None:
    images = Images(prompt="a cat", asked="a cat", seed=1, trigger=PlacedTrigger(text="zudi"))
    assert html.marked(images) == ("a cat", "", "")
    assert html.marked(images.model_copy(update={"asked": "a zudi cat"})) == ("a ", "zudi", " cat")
