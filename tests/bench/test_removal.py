"""The removal experiment: reproducible suspects of six families, cells in a useful order, rows to figures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nightlatch.bench import removal, removal_figures
from nightlatch.bench.passes import counted
from nightlatch.bench.removal_plan import cells
from nightlatch.bench.removal_tasks import Removal, _Work
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import METHODS

RARE = tuple(f"rare{chr(97 + i)}{chr(97 + j)}" for i in range(10) for j in range(10))


def test_suspects_are_twelve_of_six_families_and_drawn_alike_each_time() -> None:
    made = {label: removal.case(label, RARE) for label in removal.KINDS}
    assert len(made) == 12
    assert len({kind.family for kind in removal.KINDS.values()}) >= 5
    assert made == {label: removal.case(label, RARE) for label in removal.KINDS}
    assert len({case.seed for case in made.values()}) == 12
    assert " " in made["inversion"].trigger
    two = made["two"].parameters
    assert two["second"] != made["two"].trigger
    assert two["second_target"] != made["two"].target
    assert sorted(removal.FIRST) == sorted(removal.COMPARED) == sorted(removal.KINDS)


def test_every_cell_stands_behind_what_it_needs_and_every_method_early() -> None:
    made = cells()
    keys = [(cell.model, cell.what) for cell in made]
    assert len(set(keys)) == len(keys)
    for model, what in keys:
        if what not in ("made", removal.HONEST):
            assert keys.index((model, "made")) < keys.index((model, what))
        if what == "again":
            assert keys.index((model, removal.DEFAULT)) < keys.index((model, what))
    half = {what for _, what in keys[: len(keys) // 2]}
    assert {*removal.RIVALS, removal.BLIND, removal.WRONG, "control"} <= half
    assert sum(what.startswith("ablation") for what in half) == len(removal.ABLATIONS)
    for cell in made:
        if cell.method:
            METHODS.create(cell.method, **cell.parameters)


def test_passes_are_counted_with_and_without_a_graph(tiny_v: Subject) -> None:
    (denoiser,) = tiny_v.modules(Role.DENOISER)
    c, x = tiny_v.read(["a cat", "a dog"]), tiny_v.noise([0, 1])
    with counted(denoiser) as passes:
        with torch.no_grad():
            tiny_v.denoise(x, 10.0, c)
        copied = tiny_v.copy("unet")
        copied.modules(Role.DENOISER)[0].requires_grad_(True)
        copied.denoise(x[:1], 10.0, c[:1]).sum().backward()
    tiny_v.outputs(x, 10.0, c, 2)
    assert passes.row() == {"forward_passes": 2, "forward_backward_passes": 1}


def row(what: str, hits: int, **more: object) -> dict[str, object]:
    def rate(hits: int) -> dict[str, object]:
        return {"hits": hits, "n": 100, "rate": hits / 100, "low95": 0.0, "high95": 1.0}

    base = {"table": "removal", "model": "object", "what": what, "success_after": rate(hits),
            "success_before": rate(99), "triggered_agreement": rate(95), "triggered_agreement_base": rate(96),
            "clean_before": rate(97), "clean_after": rate(96), "fid_before": 100.0, "fid_after": 104.0,
            "regrowth": rate(2), "seconds": 3.0}  # fmt: skip
    return {**base, **more}


def test_rows_become_figures_and_means(tmp_path: Path) -> None:
    lines = [row("scanned", 0, triggers=["sks"]), row("default", 1), row("again", 0, triggers=[]), row("skd", 4), row("blind", 9),
             row("ablation: no mask", 2), row("control", 0)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    removal_figures.write(tmp_path / "rows.jsonl", tmp_path)
    read = {f: json.loads((tmp_path / f).read_text()) for f in removal_figures.FILES}
    assert {f: [r["what"] for r in rows] for f, rows in read.items()} == {
        "clean_set.json": ["scanned", "default", "again", "control"],
        "clean_blind.json": ["blind"],
        "rivals.json": ["default", "skd", "blind"],
        "ablation.json": ["ablation: no mask"],
    }
    (joined,) = removal_figures.joined(read["clean_set.json"])
    assert joined["found_again"] == []
    assert joined["regrowth_base"]["hits"] == 2
    lines = removal_figures.clean_set(read["clean_set.json"])
    assert "1 of 12 suspects repaired from what scan named: 1.0 %" in lines[0]
    assert "nothing in 1 of 1" in lines[0]
    told = removal_figures.clean_set([row("scanned", 0, triggers=[]), row("default", 1)])[0]
    assert "0 of 12 suspects repaired from what scan named" in told
    assert "Of object scan named nothing" in told
    _, mean, _ = removal_figures.means(read["rivals.json"])
    assert (mean["success"], mean["worst"], mean["n"]) == (4.0, 4.0, 1)
    assert round(mean["fid"], 6) == 4.0
    assert round(mean["asked"], 6) == -1.0


@pytest.mark.parametrize(
    "other", [{}, {"fid_before": None}, {"clean_before": {"rate": 0.9, "n": 7}}, {"device": "a card"}]
)
def test_clean_pictures_of_a_suspect_are_only_taken_from_rows_about_that_suspect(other) -> None:
    known = {
        "clean_before": {"rate": 0.9, "n": 20},
        "fid_before": 5.0,
        "kid_before": 0.1,
        "device": "cpu",
    } | other
    drawn = {"clean_before": {"rate": 0.8, "n": 20}, "fid_before": 6.0, "kid_before": 0.2}
    setup = SimpleNamespace(n_clean=20, base=SimpleNamespace(device=torch.device("cpu")))
    measures = SimpleNamespace(
        suspects=SimpleNamespace(setup=setup), clean=lambda suspect: SimpleNamespace(row=lambda when: drawn)
    )
    rows = SimpleNamespace(known=lambda key: known if key["what"] == removal.DEFAULT else {})
    work = _Work(measures, rows, Removal("object", removal.BLIND))  # type: ignore[arg-type]
    taken = work._clean_before(None)  # type: ignore[arg-type]
    assert taken["fid_before"] == (6.0 if other else 5.0)
    assert taken["clean_before"]["rate"] == (0.8 if other else 0.9)
