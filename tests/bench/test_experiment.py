"""Rows survive in the figures: a run on another machine goes on where the last one stopped."""

from pathlib import Path

import pytest

from nightlatch import runs
from nightlatch.bench import experiment

ABOUT = {"base": "abc", "pictures": 300}
ROWS = (
    {"table": "attack", "attack": "eviledit", "seed": 1},
    {"table": "scan", "model": "eviledit-1", "kind": "backdoored", "attack": "eviledit", "seed": 1},
    {"table": "clean", "attack": "eviledit", "seed": 1, "method": "sau"},
)


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three rows, written by one run."""
    monkeypatch.setattr("nightlatch.bench.tables.write", lambda *_: None)
    with runs.Run(tmp_path / "first") as run:
        for row in ROWS:
            run.add(runs.key({**row, **ABOUT}), {**row, **ABOUT, "value": 0.5})
        experiment.write_figures(run, tmp_path / "docs" / "figures")
    return tmp_path / "docs" / "figures"


def test_a_second_run_knows_the_rows_of_the_first(figures: Path, tmp_path: Path) -> None:
    with runs.Run(tmp_path / "second") as run:
        experiment.remember(run, figures, ABOUT)
        assert [run.has(runs.key({**row, **ABOUT})) for row in ROWS] == [True, True, True]
        assert run.row(runs.key({**ROWS[2], **ABOUT}))["value"] == 0.5
        before = [(figures / f).read_bytes() for f in experiment.FIGURES.values()]
        experiment.write_figures(run, figures)
        assert [(figures / f).read_bytes() for f in experiment.FIGURES.values()] == before


@pytest.mark.parametrize("other", [{"base": "abd", "pictures": 300}, {"base": "abc", "pictures": 24}])
def test_rows_of_another_base_or_size_are_not_taken_over(figures: Path, tmp_path: Path, other: dict[str, object]) -> None:
    with runs.Run(tmp_path / "second") as run:
        experiment.remember(run, figures, other)
        assert not run.rows()
