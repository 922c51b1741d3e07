"""The experiment's plan: reproducible, mostly drawn at random, and nothing in a suspect's name tells the scanner anything."""

from __future__ import annotations

import inspect
import json

import pytest

from nightlatch import provenance, runs
from nightlatch.bench import cases, experiment, matrix, tables
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.scan import pipeline

RARE = [f"rare{chr(97 + i)}" for i in range(20)]


def test_another_attempt_draws_another_trigger_of_the_same_kind():
    first, second = (cases.draw("eviledit", 1, RARE, attempt) for attempt in (0, 1))
    assert first in cases.cases(RARE)
    assert second.trigger != first.trigger
    assert second.trigger in RARE
    assert (second.kind, second.name, second.drawn) == (first.kind, first.name, True)


@pytest.mark.parametrize("seeds", [cases.DEVELOPED, cases.EARLIER])
def test_every_attack_three_seeds_and_at_least_half_drawn(seeds):
    made = cases.cases(RARE, seeds)
    assert {c.attack for c in made} == set(ATTACKS.names())
    assert len(made) == 3 * len(ATTACKS.names())
    assert sum(c.drawn for c in made) >= len(made) / 2
    assert {c.kind for c in made} == set(cases.KINDS)


def test_every_attack_of_the_held_out_seeds_and_at_least_half_drawn():
    made = cases.cases(RARE, cases.HELD_OUT)
    assert {c.attack for c in made} == set(ATTACKS.names())
    assert len(made) == len(cases.HELD_OUT) * len(ATTACKS.names())
    assert sum(c.drawn for c in made) >= len(made) / 2


def test_no_seed_is_both_developed_on_and_held_out():
    assert not {*cases.DEVELOPED, *range(3, 6), *cases.EARLIER} & set(cases.HELD_OUT)


def test_cases_repeat():
    assert cases.cases(RARE) == cases.cases(RARE)
    assert cases.cases(RARE, (1,)) == [c for c in cases.cases(RARE) if c.seed == 1]


def test_no_target_is_named_by_its_trigger():
    for c in cases.cases(RARE):
        assert not set(c.trigger.split()) & set(c.target.split())


def test_scanner_takes_no_trigger_target_or_attack():
    known = {"suspect", "base", "texts", "sampling", "budget", "say", "hinted"}
    assert set(inspect.signature(pipeline.scan).parameters) == known
    assert "hinted" not in inspect.getsource(matrix.Matrix.scan)  # what files suggest; the experiment suggests nothing


def test_figures_keep_rows_that_miss_their_bar(tmp_path):
    with runs.Run(tmp_path / "run") as folder:
        folder.add(
            "a",
            {"table": "scan", "model": "m", "kind": "honest", "attack": "", "seed": 0, "verdict": "nothing found by these tests"},
        )
        experiment.write_figures(folder, tmp_path)
    text = (tmp_path / "scan.json").read_text()
    assert "nothing found" in text
    assert '"table"' not in text


def test_tables_show_rates_and_escape_what_models_say(tmp_path):
    rate = {"hits": 1, "n": 300, "rate": 1 / 300, "low95": 0.0, "high95": 0.0184}
    provenance.write_figures(tmp_path / "clean.json", [{"attack": "a|b", "method": "sau", "success_after": rate}], "test", 0)
    tables.write(tmp_path, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert "0.3 (< 1.8)" in page
    assert "a\\|b" in page
    assert "## Scan" not in page


def test_scanners_are_counted_by_how_they_ended(tmp_path):
    row = {"case": "7-x", "rule": "pickle", "nightlatch": "refused", "nightlatch_seconds": 0.1, "versions": {"picklescan": "1.0"}}
    rows = [
        {**row, "picklescan": "missed", "picklescan_ran_code": True},
        {**row, "picklescan": "found", "picklescan_ran_code": False},
    ]
    (tmp_path / "scanners.json").write_text(json.dumps(rows))
    tables.write(tmp_path, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert "| picklescan 1\\.0 | 1 | 0 | 1 | 0 | 0 | 1 |" in page
    assert "| nightlatch | 0 | 2 | 0 | 0 | 0 | 0 |" in page
