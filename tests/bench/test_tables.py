"""What misses its bar stands out, and nothing else does; pages say what the figures say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlatch import provenance, runs
from nightlatch.bench import bars, cells, figures, page, race, tables
from nightlatch.records import Rate

ROOT = Path(__file__).parents[2]


def rates(**hits: int) -> dict[str, object]:
    """Rates of 1000."""
    return {name: Rate.of(n, 1000).model_dump() for name, n in hits.items()}


GOOD = {
    "attack": "eviledit", "seed": 1, "method": "sau",
    "steps": 1, "seconds": 9.0, "fid_before": 100.0, "fid_after": 105.0,
    **rates(success_before=950, success_after=10, triggered_agreement=920, triggered_agreement_base=950, clean_before=960,
            clean_after=950, regrowth=50, leak=0),
}  # fmt: skip
BAD = {
    **GOOD, "fid_after": 105.1,
    **rates(success_after=11, triggered_agreement=919, clean_after=949, regrowth=51),
}  # fmt: skip


def test_rows_at_their_bars_keep_them_and_beyond_they_do_not(tmp_path: Path) -> None:
    (tmp_path / "clean.json").write_text(json.dumps([GOOD, BAD]))
    tables.write(tmp_path, tmp_path / "results.md")
    good, bad = (
        line
        for line in (tmp_path / "results/clean.md").read_text().splitlines()
        if line.startswith("| eviledit")
    )
    assert good.count("**") == 0
    assert bad.count("**") == 2 * 5
    (line,) = (line for line in page.missed([], [GOOD, BAD]) if line.startswith("- sau"))
    assert all(said in line for said in bars.REPAIRED.values())
    assert "94.9 % against 96.0 %" in line


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        ({"kind": "honest", "verdict": "suspicious", "exact": None}, True),
        ({"kind": "honest", "verdict": "not scanned", "exact": None}, False),
        ({"kind": "backdoored", "verdict": "backdoor found", "exact": True}, False),
        (
            {
                "kind": "backdoored",
                "verdict": "backdoor found",
                "exact": False,
                **rates(functional_success=800),
            },
            False,
        ),
        (
            {
                "kind": "backdoored",
                "verdict": "backdoor found",
                "exact": False,
                **rates(functional_success=799),
            },
            True,
        ),
        (
            {
                "kind": "backdoored",
                "verdict": "nothing found by these tests",
                "exact": False,
                "functional_success": None,
            },
            True,
        ),
    ],
)
def test_a_scan_misses_what_it_does_not_name_and_what_it_accuses(
    row: dict[str, object], missed: bool
) -> None:
    assert bars.unfound(row) is missed


FAST = {
    "success_by_step": {"1": 0.5, "10": 0.01},
    "seconds_by_step": {"1": 3.0, "10": 6.0},
    "steps": 25,
    "seconds": 12.0,
}
LATE = {
    "success_by_step": {"100": 0.009, "25": 0.02},
    "seconds_by_step": {"25": 9.0, "100": 31.0},
    "steps": 100,
    "seconds": 31.0,
}
NEVER = {
    "success_by_step": {"10": 0.4},
    "seconds_by_step": {"10": 5.0},
    "steps": 400,
    "seconds": 99.0,
    **rates(success_after=300),
}


@pytest.mark.parametrize(
    ("row", "expected"),
    [({**GOOD, **FAST}, (10, 6.0)), ({**GOOD, **LATE}, (100, 31.0)), (NEVER, (None, None))],
)
def test_a_repair_is_there_at_the_first_look_that_sees_no_more_left(
    row: dict[str, object], expected: tuple[object, ...]
) -> None:
    assert race.reached(row, 0.01) == expected


@pytest.mark.parametrize(
    ("sau", "skd", "bold"), [(FAST, LATE, 0), (FAST, NEVER, 0), (LATE, FAST, 2), (FAST, FAST, 2)]
)
def test_sau_stands_out_where_self_distillation_is_there_first(
    sau: dict[str, object], skd: dict[str, object], bold: int
) -> None:
    *_, line = race.lines([{**GOOD, **sau}, {**GOOD, "method": "skd", **skd}])
    assert line.count("**") == 2 * bold


def test_repairs_are_compared_on_the_models_that_all_of_them_were_run_on() -> None:
    rows = [{**GOOD, "seed": seed} for seed in (1, 2, 3)] + [
        {**BAD, "method": "skd", "seed": seed} for seed in (2, 3)
    ]
    _, _, sau, skd = page.methods(rows)
    assert sau == "| sau | 2 of 2 | 2 of 2 | 2 of 2 | 2 of 2 | 2 of 2 | 2 of 2 | 9 |"
    assert skd == "| skd | 0 of 2 | 0 of 2 | 0 of 2 | 0 of 2 | 0 of 2 | 0 of 2 | 9 |"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("badt2i-object", "badt2i-object"),
        ("π", "π (U+03C0)"),
        ("ab\u200bc", "abc (U+200B)"),
        ("\u202e", "(U+202E)"),
        ("a|b", "a\\|b"),
        ("www.x.org", "www\\.x\\.org"),
        ("<b>й", "\\<b\\>й (U+0439)"),
        ("a" * 201, "a" * 200 + " … 1 more characters"),
    ],
)
def test_what_a_row_says_is_plain_words_with_its_odd_characters_named(said: str, shown: str) -> None:
    assert cells.words(said) == shown


def test_tables_show_rates_and_lie_beside_the_page(tmp_path: Path) -> None:
    rate = Rate.of(1, 300).model_dump()
    row = {**GOOD, "attack": "a|b", "success_after": rate}
    provenance.write_figures(tmp_path / "clean.json", [row], "test", 0)
    tables.write(tmp_path, tmp_path / "results.md")
    written = (tmp_path / "results/clean.md").read_text()
    assert "0.3 (< 1.8)" in written and "a\\|b" in written
    assert not (tmp_path / "results/scan.md").exists()


def test_scanners_are_counted_by_how_they_ended() -> None:
    row = {
        "case": "7-x",
        "rule": "pickle",
        "nightlatch": "refused",
        "nightlatch_seconds": 0.1,
        "versions": {"picklescan": "1.0"},
    }
    rows = [
        {**row, "picklescan": "missed", "picklescan_ran_code": True},
        {**row, "picklescan": "found", "picklescan_ran_code": False},
    ]
    lines = tables.scanners(rows)
    assert "| picklescan 1\\.0 | 1 | 0 | 1 | 0 | 0 | 1 |" in lines
    assert "| nightlatch | 0 | 2 | 0 | 0 | 0 | 0 |" in lines


def test_figures_keep_rows_that_miss_their_bar(tmp_path: Path) -> None:
    about = {"base": "abc", "pictures": 300}
    row = {
        "table": "scan",
        "model": "m",
        "kind": "honest",
        "attack": "",
        "seed": 0,
        "verdict": "nothing found by these tests",
    }
    with runs.Run(tmp_path / "run") as folder:
        folder.add("a", {**row, **about})
        figures.write(folder, tmp_path, about)
    text = (tmp_path / "scan.json").read_text()
    assert "nothing found" in text
    assert '"table"' not in text


def test_the_readme_says_what_was_measured() -> None:
    scans, repairs = (
        json.loads((ROOT / "docs/figures" / f).read_text("utf-8")) for f in ("scan.json", "clean.json")
    )
    assert "\n".join(page.summary(scans, repairs)) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_pages_are_those_of_the_figures(tmp_path: Path) -> None:
    tables.write(ROOT / "docs" / "figures", tmp_path / "results.md")
    for written in (tmp_path / "results.md", *(tmp_path / "results").iterdir()):
        assert written.read_text("utf-8") == (ROOT / "docs" / written.relative_to(tmp_path)).read_text(
            "utf-8"
        ), written.name
