"""How pictures are drawn is kept with a run, so that no verb measures under other settings than the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightlatch import drawing, runs
from nightlatch.errors import UsageError


def test_later_verbs_draw_as_the_first_one_did(tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        assert drawing.settle(run, {"prompts": "emoji", "steps": 8}).guidance == 4.0
    with runs.Run(tmp_path) as run:
        assert drawing.settle(run, {}) == drawing.Drawing(prompts="emoji", steps=8)
        assert drawing.settle(run, {"guidance": 1.0}) == drawing.Drawing(prompts="emoji", steps=8, guidance=1.0)


def test_results_drawn_otherwise_are_not_mixed_in(tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        drawing.settle(run, {"steps": 8})
        runs.write_whole(tmp_path / "verdict.json", "{}")
        with pytest.raises(UsageError, match="made with --steps 8"):
            drawing.settle(run, {"steps": 9})
        assert drawing.settle(run, {"steps": 8}).steps == 8
        assert drawing.settle(run, {"steps": 9}, anew=True).steps == 9
        assert drawing.settle(run, {}, anew=True) == drawing.Drawing()


@pytest.mark.parametrize(("name", "value"), [("steps", 1), ("guidance", 0.5), ("precision", "fp8")])
def test_what_is_out_of_range_is_named(name: str, value: str | float, tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run, pytest.raises(UsageError, match=f"--{name}"):
        drawing.settle(run, {name: value})


@pytest.mark.parametrize("recorded", [[], "emoji", {"steps": "many"}, {"prompt": "emoji"}, {"steps": 10**9}])
def test_an_unusable_record_is_one_sentence(recorded: object, tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        runs.write_whole(tmp_path / runs.MANIFEST, json.dumps({**run.manifest(), drawing.KEY: recorded}))
        with pytest.raises(UsageError, match="no usable settings"):
            drawing.settle(run, {})
