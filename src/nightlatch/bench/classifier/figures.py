"""docs/figures/classifier_*.json from the rows of a run: one row a case, with n, seed and commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightlatch import provenance, runs
from nightlatch.records import Rate

FILES = {
    "attacks": "classifier_attacks.json",
    "clean": "classifier_clean.json",
    "guard": "classifier_guard.json",
    "guard_curve": "classifier_guard_curve.json",
    "variations": "classifier_variations.json",
    "purifier": "classifier_purifier.json",
    "generator": "classifier_generators.json",
    "scan": "classifier_scan.json",
    "repair": "classifier_repair.json",
    "fewshot": "classifier_fewshot.json",
}
COMMAND = "python bench/device/classifier.py --data DATA --out RUN --device cuda --jobs 5"
ADDED = ("success", "accuracy", "success_patch_alone", "accuracy_clean")
"""Rates of the few-shot rows, whose parts are added up."""


def write(run: runs.Run, out: Path) -> None:
    """Every table of which there are rows."""
    rows = [row for unit in run.rows() if "rows" in unit for row in unit["rows"]]
    out.mkdir(parents=True, exist_ok=True)
    for table, file in FILES.items():
        own = [{k: v for k, v in row.items() if k != "table"} for row in rows if row["table"] == table]
        own = together(own) if table == "fewshot" else own
        if own:
            own.sort(
                key=lambda r: tuple(
                    str(r.get(k, ""))
                    for k in ("data", "model", "attack", "method", "seed", "strength", "alpha", "clean")
                )
            )
            provenance.write_figures(out / file, own, COMMAND, 0)


def together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Few-shot rows of the same case as one."""
    made: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        case = (row["data"], row["head"], row["defence"])
        if case not in made:
            made[case] = dict(row)
            continue
        for name in ADDED:
            a, b = made[case][name], row[name]
            made[case][name] = Rate.of(a["hits"] + b["hits"], a["n"] + b["n"]).model_dump()
    return list(made.values())
