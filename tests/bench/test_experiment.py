"""Rows survive in the figures: a run on another machine goes on where the last one stopped."""

from pathlib import Path

import pytest

from nightlatch import runs
from nightlatch.bench import experiment, tables
from nightlatch.bench.cases import PLAN
from nightlatch.errors import UsageError

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
        before = [(figures / f).read_bytes() for f in tables.FIGURES.values()]
        experiment.write_figures(run, figures)
        assert [(figures / f).read_bytes() for f in tables.FIGURES.values()] == before


@pytest.mark.parametrize("other", [{"base": "abd", "pictures": 300}, {"base": "abc", "pictures": 24}])
def test_rows_of_another_base_or_size_are_not_taken_over(figures: Path, tmp_path: Path, other: dict[str, object]) -> None:
    with runs.Run(tmp_path / "second") as run:
        experiment.remember(run, figures, other)
        assert not run.rows()


def test_a_plan_can_be_cut_into_parts_that_together_are_the_whole() -> None:
    rare = [f"rare{letter}" for letter in "abcdefgh"]
    whole = experiment.Plan().suspects(rare, (0, 1))
    parts = [experiment.Plan(attacks=(attack,)).suspects(rare, (0, 1)) for attack in PLAN]
    assert sorted(c.name for part in parts for c in part) == sorted(c.name for c in whole)


def test_a_plan_names_an_attack_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="no attack 'evilediit'"):
        experiment.Plan(attacks=("eviledit", "evilediit"))
