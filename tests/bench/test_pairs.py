"""The experiment on image-text models: every kind of cell runs on a tiny corpus, rows are keyed, and a run
goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import torch
from PIL import Image

from nightlatch.bench import pairdata, pairfigures, pairrun
from nightlatch.bench import pairs as bench
from nightlatch.contrastive.attacks import ATTACKS
from nightlatch.contrastive.find import FINDERS
from nightlatch.runs import Run
from nightlatch.testbed import corpus

ONE = ({"attack": "optimised-patch"}, {"method": "shortcut"}, {"setting": "found"}, {"judge": "suspect"})


def wanted(cell):
    return all(cell.get(k, v) in ("", v) for part in ONE for k, v in part.items())


def plan(root, **given):
    given = {"profile": bench.TINY, **given}
    return pairrun.Plan(
        out=root / "rows", models=root / "models", data=None, seeds=(0,), facts={"commit": "abc"}, **given
    )


def test_cells_come_after_what_they_need_and_each_once():
    cells = list(bench.cells((0, 1), bench.Profile()))
    keys = [json.dumps(c, sort_keys=True) for c in cells]
    assert len(set(keys)) == len(keys)
    for i, cell in enumerate(cells):
        assert all(n in cells[:i] for n in bench.needs(cell)), cell
    assert {c["attack"] for c in cells if c["table"] == "find"} == set(ATTACKS.names())
    cleaned = {(c["attack"], c["method"], c["setting"]) for c in cells if c["table"] == "clean"}
    assert {(a, *m) for a in ATTACKS.names() for m in bench.CLEANERS} <= cleaned
    kinds = [bool(c["attack"]) for c in cells if c["table"] == "scan"]
    assert kinds.count(False) >= 8 and kinds.count(True) >= 8


def test_every_kind_of_cell_leaves_a_row_and_is_not_run_again(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    all_cells = bench.cells
    monkeypatch.setattr(
        bench, "cells", lambda seeds, profile: (c for c in all_cells(seeds, profile) if wanted(c))
    )
    assert pairrun.run(plan(tmp_path)) == 0
    with Run(tmp_path / "rows", write=False) as held:
        files = pairfigures.write(held.rows(), tmp_path)
    rows = {f.stem.removeprefix("contrastive_"): json.loads(f.read_text()) for f in files}
    assert {t: len(r) for t, r in rows.items()} == {
        "base": 1, "attacks": 1, "find": len(FINDERS.names()), "clean": 1, "scan": 2
    }  # fmt: skip
    (clean,) = rows["clean"]
    for name in (
        "top1_before", "top1_after", "top10_after", "zero_shot_before", "zero_shot_after", "retrieval_after", "rebound_6"
    ):  # fmt: skip
        assert 0 <= clean[name]["rate"] <= 1 and clean[name]["n"] > 0
    assert clean["commit"] == "abc" and {"command", "seed", "n", "method", "setting"} <= clean.keys()
    assert 0 <= clean["truly"] <= clean["named"]
    assert {r["kind"] for r in rows["scan"]} == {"honest", "backdoored"}
    assert all(0 <= r["auroc"] <= 1 and 0 <= r["precision_at_k"] <= 1 for r in rows["find"])
    before = (tmp_path / "rows" / "rows.jsonl").read_text()
    assert pairrun.run(plan(tmp_path)) == 0
    assert (tmp_path / "rows" / "rows.jsonl").read_text() == before


def test_an_attack_that_does_not_reach_its_floor_is_tried_stronger_and_then_refused(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    tries = (bench.Try(share=0.05, steps=1), bench.Try(share=0.1, steps=2, more={"strength": 3.0}))
    profile = dataclasses.replace(bench.TINY, tries=tries, floor=1.1)
    monkeypatch.setattr(
        bench, "cells", lambda seeds, profile: [
            {"table": "base", "attack": "", "seed": 0},
            {"table": "attacks", "attack": "warp", "seed": 0},
            {"table": "scan", "attack": "warp", "seed": 0},
        ],
    )  # fmt: skip
    assert pairrun.run(plan(tmp_path, profile=profile)) == 0
    with Run(tmp_path / "rows", write=False) as held:
        _, attack = held.rows()
    assert attack["refused"] and [t["share"] for t in attack["tries"]] == [0.05, 0.1]
    assert attack["tries"][1]["strength"] == 3.0 and attack["tries"][1]["top1"]["n"] == 20


def test_a_smaller_profile_keeps_the_strongest_trigger_of_each_attack():
    for attack, usual in bench.TRIES.items():
        assert [t.more for t in bench.SMALL.ladder(attack)] == [usual[-1].more] * len(bench.SMALL.tries)
    assert [t.share for t in bench.SMALL.ladder("patch")] == [t.share for t in bench.SMALL.tries]
    assert bench.Profile().ladder("warp") == bench.TRIES["warp"]


def test_a_packed_data_set_is_made_smaller(tmp_path):
    rng, files = np.random.default_rng(0), []
    for _ in range(6):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(file, "JPEG")
        files.append(file.getvalue())
    offset, label = np.cumsum([0, *map(len, files)]), np.arange(6) % 2
    jpeg = np.frombuffer(b"".join(files), np.uint8)
    np.savez(tmp_path / "a.npz", jpeg=jpeg, offset=offset, label=label, class_name=np.array(["cat", "dog"]))
    assert pairdata.shrunk(tmp_path / "a.npz", tmp_path / "b.npz", 48, 4) == 4
    with np.load(tmp_path / "b.npz") as z:
        assert len(z["label"]) == 4 and len(z["offset"]) == 5 and list(z["class_name"]) == ["cat", "dog"]
        assert Image.open(io.BytesIO(z["jpeg"][: z["offset"][1]].tobytes())).size == (48, 48)


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
