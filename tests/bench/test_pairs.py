"""The experiment on image-text models: every kind of cell runs on a tiny corpus, rows are keyed, and a run
goes on where it stopped.
"""

from __future__ import annotations

import json

import numpy as np
import torch

from nightlatch.bench import pairrun
from nightlatch.bench import pairs as bench
from nightlatch.contrastive.attacks import ATTACKS
from nightlatch.contrastive.find import FINDERS
from nightlatch.testbed import corpus

ONE = ({"attack": "patch"}, {"method": "cleanclip"}, {"finder": "dao"}, {"judge": "suspect"})


def wanted(cell):
    return all(cell.get(k, v) in ("", v) for part in ONE for k, v in part.items())


def plan(out, **given):
    return pairrun.Plan(out=out, data=None, profile=bench.TINY, seeds=(0,), **given)


def test_cells_come_after_what_they_need_and_each_once():
    cells = list(bench.cells((0, 1), bench.Profile()))
    keys = [json.dumps(c, sort_keys=True) for c in cells]
    assert len(set(keys)) == len(keys)
    for i, cell in enumerate(cells):
        assert all(n in cells[:i] for n in bench.needs(cell)), cell
    finds = {(c["attack"], c["finder"]) for c in cells if c["table"] == "find"}
    assert finds == {(a, f) for a in ATTACKS.names() for f in FINDERS.names()}


def test_every_kind_of_cell_leaves_a_row_and_is_not_run_again(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    all_cells = bench.cells
    monkeypatch.setattr(
        bench, "cells", lambda seeds, profile: (c for c in all_cells(seeds, profile) if wanted(c))
    )
    assert pairrun.run(plan(tmp_path)) == 0
    rows = {t: json.loads((tmp_path / f).read_text()) for t, f in pairrun.FIGURES.items()}
    assert {t: len(r) for t, r in rows.items()} == {"base": 1, "attacks": 1, "find": 1, "clean": 1, "scan": 2}
    (clean,) = rows["clean"]
    for name in (
        "top1_before",
        "top1_after",
        "top10_after",
        "zero_shot_before",
        "zero_shot_after",
        "retrieval_after",
        "rebound_2",
    ):
        assert 0 <= clean[name]["rate"] <= 1 and clean[name]["n"] > 0
    assert {"command", "seed", "commit", "n", "method", "setting"} <= clean.keys()
    assert {r["kind"] for r in rows["scan"]} == {"honest", "backdoored"}
    before = (tmp_path / "rows.jsonl").read_text()
    assert pairrun.run(plan(tmp_path)) == 0
    assert (tmp_path / "rows.jsonl").read_text() == before


def test_no_picture_is_in_two_parts_and_relations_are_drawn_as_said():
    made = corpus.build(32, (60, 20, 20), 0)
    seen = [p.images.flatten(1).numpy().tobytes() for p in (made.train, made.trusted, made.retrieval)]
    assert len(set(seen)) == 3 and len(set(made.retrieval.captions)) == len(made.retrieval)
    rng = np.random.default_rng(0)
    for _ in range(40):
        board = np.full((32, 32, 3), 255, np.uint8)
        text = corpus._two(board, [(0, 3), (40, 0)], 6, rng)
        drawn = (board != 255).any(2)
        halves = (
            (drawn[:, :16].any() and drawn[:, 16:].any())
            if " the " in text
            else (drawn[:16].any() and drawn[16:].any())
        )
        assert halves, text
