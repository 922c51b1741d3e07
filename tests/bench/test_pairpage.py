"""What is printed of the experiment on image-text models, from rows whose means are known."""

from __future__ import annotations

import json

from nightlatch.bench import pairfigures, pairpage, tables
from nightlatch.contrastive.clean import METHODS


def rate(value: float) -> dict[str, float]:
    return {"hits": round(1000 * value), "n": 1000, "rate": value, "low95": value, "high95": value}


def clean(method: str, attack: str, after: float, **given: float) -> dict[str, object]:
    values = {
        "top1_before": 0.9, "top1_after": after, "top10_after": after, "zero_shot_before": 0.5,
        "zero_shot_after": 0.49, "retrieval_before": 0.6, "retrieval_after": 0.6, "rebound_300": 0.05,
        "rebound_1000": 0.05, "top10_base": 0.08, "top10_control": 0.09, **given,
    }  # fmt: skip
    return {
        "attack": attack, "seed": 0, "device": "cpu", "method": method, "setting": "none", "clean_seconds": 2.0,
        **{k: rate(v) for k, v in values.items()},
    }  # fmt: skip


def test_means_are_over_the_models_that_every_cleaner_was_measured_on():
    rows = [
        clean("par", "patch", 0.2),
        clean("par", "sig", 0.8),
        clean("shortcut", "patch", 0.01, rebound_1000=0.2, zero_shot_after=0.46),
    ]
    said = pairpage.cleaned(rows)
    assert said[0] == "On cpu, means over 1 models (patch):"
    shortcut, par = said[4:6]
    assert (
        said[7].startswith("Not measured there") and "par (none)" not in said[7] and "ubt (known)" in said[7]
    )
    assert shortcut.startswith("| shortcut") and par.startswith("| par")
    assert "| 1.0 | 1.0 | 8.0 | 9.0 | **4.0** |" in shortcut and "**20.0**" in shortcut
    assert "| 90.0 | **20.0** | **20.0** | 8.0 | 9.0 | 1.0 | 0.0 | 5.0 | 5.0 |" in par


def test_rows_of_an_earlier_algorithm_are_told_apart():
    now = METHODS.create("shortcut").version
    rows = [clean("shortcut", "patch", 0.5), {**clean("shortcut", "patch", 0.01), "version": now}]
    first, second = pairpage.cleaned(rows)[4:6]
    assert first.startswith("| shortcut | none") and "| 1.0 |" in first
    assert second.startswith("| shortcut, version 1 | none") and "**50.0**" in second


def test_a_lost_share_keeps_its_bar_up_to_two_points():
    (row,) = pairpage.means([clean("par", "patch", 0.02)])
    assert all(keeps(row) for keeps in pairpage.BARS.values())
    (row,) = pairpage.means([clean("par", "patch", 0.02, retrieval_after=0.57)])
    assert [k for k, keeps in pairpage.BARS.items() if not keeps(row)] == ["retrieval_lost"]


def test_smaller_patches_count_as_more_suspicious():
    rows = [{"attack": a, "kind": k, "seed": 0, "pl1": p, "alike": 0.9, "seconds": 1.0}
            for a, k, p in (("patch", "backdoored", 0.02), ("", "honest", 0.3), ("sig", "backdoored", 0.4), ("", "honest", 0.5))]  # fmt: skip
    rows = [{**r, "profile": "small"} for r in rows]
    other = [{**r, "profile": "tiny", "pl1": 0.1 if r["kind"] == "backdoored" else 0.2} for r in rows]
    first, second = pairpage.scanned([*rows, *other])[0].split("\n\n")
    assert first == "Profile small: AUROC 0.750 over 2 backdoored and 2 honest encoders."
    assert second == "Profile tiny: AUROC 1.000 over 2 backdoored and 2 honest encoders."


def test_rows_become_figures_and_figures_a_page(tmp_path):
    find = {
        "table": "find", "attack": "patch", "seed": 0, "judge": "suspect", "k": 5, "n": 50, "commit": "abc",
        "finders": {"dao": {"auroc": 0.99, "precision_at_k": 0.8, "seconds": 1.0},
                    "lid": {"auroc": 0.5, "precision_at_k": 0.1, "seconds": 1.0}},
    }  # fmt: skip
    lines = [
        json.dumps({"key": str(i), "row": r})
        for i, r in enumerate((find, {"table": "clean", **clean("par", "patch", 0.1)}))
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + '\n{"key": "cut", "ro')
    (tmp_path / "figures").mkdir()
    made = pairfigures.write(pairfigures.read(tmp_path / "rows.jsonl"), tmp_path / "figures")
    assert [p.name for p in made] == ["contrastive_find.json", "contrastive_clean.json"]
    found = json.loads(made[0].read_text())
    assert [r["finder"] for r in found] == ["dao", "lid"] and {r["commit"] for r in found} == {"abc"}
    tables.write(tmp_path / "figures", tmp_path / "results.md")
    page = (tmp_path / "results" / "contrastive.md").read_text()
    assert "| dao | suspect |  | 1 | 0.990 | 0.990 | **0.80** |" in page and "## Cleaners" in page
