"""Rows survive in the figures: a run on another machine goes on where the last one stopped; what fails is
tried again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nightlatch import runs
from nightlatch.bench import figures
from nightlatch.bench.rows import Rows
from nightlatch.errors import AttackFailed

ABOUT = {"base": "abc", "pictures": 300}
ROWS = (
    {"table": "attack", "attack": "eviledit", "seed": 1},
    {"table": "scan", "model": "eviledit-1", "kind": "backdoored", "attack": "eviledit", "seed": 1},
    {"table": "clean", "attack": "eviledit", "seed": 1, "method": "sau"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Figures with three rows, written by one run."""
    with runs.Run(tmp_path / "first") as run:
        for row in ROWS:
            run.add(runs.key({**row, **ABOUT}), {**row, **ABOUT, "value": 0.5})
        figures.write(run, tmp_path / "docs" / "figures", ABOUT)
    return tmp_path / "docs" / "figures"


def test_a_second_run_knows_the_rows_of_the_first(folder: Path, tmp_path: Path) -> None:
    with runs.Run(tmp_path / "second") as run:
        figures.remember(run, folder, ABOUT)
        assert [run.has(runs.key({**row, **ABOUT})) for row in ROWS] == [True, True, True]
        assert run.row(runs.key({**ROWS[2], **ABOUT}))["value"] == 0.5
        before = [(folder / f).read_bytes() for f in figures.FIGURES.values()]
        figures.write(run, folder, ABOUT)
        assert [(folder / f).read_bytes() for f in figures.FIGURES.values()] == before


@pytest.mark.parametrize("other", [{"base": "abd", "pictures": 300}, {"base": "abc", "pictures": 24}])
def test_rows_of_another_base_or_size_are_not_taken_over(
    folder: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    with runs.Run(tmp_path / "second") as run:
        figures.remember(run, folder, other)
        assert not run.rows()


def test_rows_that_are_made_anew_stay_until_they_are(folder: Path, tmp_path: Path) -> None:
    with runs.Run(tmp_path / "second") as run:
        figures.remember(run, folder, ABOUT, ("attack", "clean"))
        figures.write(run, folder, ABOUT)
        assert figures.read(folder, "scan")[0]["value"] == 0.5
        run.add(figures.identity("scan", ROWS[1], ABOUT), {**ROWS[1], **ABOUT, "value": 0.75})
        figures.write(run, folder, ABOUT)
    (row,) = figures.read(folder, "scan")
    assert row["value"] == 0.75


def test_a_row_that_failed_is_said_and_tried_again(tmp_path: Path) -> None:
    said: list[str] = []

    def fails() -> dict[str, Any]:
        raise AttackFailed("It fell short.", "Train longer.")

    with runs.Run(tmp_path / "run") as run:
        rows = Rows(store=run, about=ABOUT, say=said.append, extra={"device": "cpu"})
        assert rows.row(ROWS[0], fails) == {}
        assert rows.failures == said[1:] == ["attack eviledit 1: AttackFailed: It fell short. Train longer."]
        assert rows.row(ROWS[0], lambda: {"value": 1})["device"] == "cpu"
        assert rows.row(ROWS[0], fails)["value"] == 1
