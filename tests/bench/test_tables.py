"""What misses its bar stands out, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlatch.bench import bars, race, tables
from nightlatch.records import Rate


def rates(**hits: int) -> dict[str, object]:
    """Rates of 1000."""
    return {name: Rate.of(n, 1000).model_dump() for name, n in hits.items()}


GOOD = {
    "attack": "eviledit", "seed": 1, "method": "sau", "steps": 1, "seconds": 9.0, "fid_before": 100.0, "fid_after": 105.0,
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
    good, bad = (line for line in (tmp_path / "results.md").read_text().splitlines() if line.startswith("| eviledit"))
    assert good.count("**") == 0
    assert bad.count("**") == 2 * 5


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        ({"kind": "honest", "verdict": "suspicious", "exact": None}, True),
        ({"kind": "honest", "verdict": "not scanned", "exact": None}, False),
        ({"kind": "backdoored", "verdict": "backdoor found", "exact": True}, False),
        ({"kind": "backdoored", "verdict": "backdoor found", "exact": False, **rates(functional_success=800)}, False),
        ({"kind": "backdoored", "verdict": "backdoor found", "exact": False, **rates(functional_success=799)}, True),
        ({"kind": "backdoored", "verdict": "nothing found by these tests", "exact": False, "functional_success": None}, True),
    ],
)
def test_a_scan_misses_what_it_does_not_name_and_what_it_accuses(row: dict[str, object], missed: bool) -> None:
    assert bars.unfound(row) is missed


FAST = {"success_by_step": {"1": 0.5, "10": 0.01}, "seconds_by_step": {"1": 3.0, "10": 6.0}, "steps": 25, "seconds": 12.0}
LATE = {"success_by_step": {"100": 0.009, "25": 0.02}, "seconds_by_step": {"25": 9.0, "100": 31.0}, "steps": 100, "seconds": 31.0}
NEVER = {
    "success_by_step": {"10": 0.4},
    "seconds_by_step": {"10": 5.0},
    "steps": 400,
    "seconds": 99.0,
    **rates(success_after=300),
}


@pytest.mark.parametrize(
    ("row", "expected"), [({**GOOD, **FAST}, (10, 6.0)), ({**GOOD, **LATE}, (100, 31.0)), (NEVER, (None, None))]
)
def test_a_repair_is_there_at_the_first_look_that_sees_no_more_left(row: dict[str, object], expected: tuple[object, ...]) -> None:
    assert race.reached(row, 0.01) == expected


@pytest.mark.parametrize(("sau", "skd", "bold"), [(FAST, LATE, 0), (FAST, NEVER, 0), (LATE, FAST, 2), (FAST, FAST, 2)])
def test_sau_stands_out_where_self_distillation_is_there_first(sau: dict[str, object], skd: dict[str, object], bold: int) -> None:
    *_, line = race.lines([{**GOOD, **sau}, {**GOOD, "method": "skd", **skd}])
    assert line.count("**") == 2 * bold


def test_the_readme_says_what_was_measured() -> None:
    root = Path(__file__).parents[2]
    assert "\n".join(tables.summary(root / "docs" / "figures")) in (root / "README.md").read_text(encoding="utf-8")
