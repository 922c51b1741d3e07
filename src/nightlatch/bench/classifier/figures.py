"""docs/figures/classifier_*.json from the rows of a run: one row a case, with n, seed and commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nightlatch import provenance

FILES = {
    "attacks": "classifier_attacks.json",
    "clean": "classifier_clean.json",
    "guard": "classifier_guard.json",
    "guard_cost": "classifier_guard_cost.json",
    "guard_curve": "classifier_guard_curve.json",
    "variations": "classifier_variations.json",
    "purifier": "classifier_purifier.json",
    "generator": "classifier_generators.json",
    "scan": "classifier_scan.json",
    "repair": "classifier_repair.json",
    "fewshot": "classifier_fewshot.json",
}
COMMAND = "python bench/device/classifier.py --data DATA --out RUN"
ORDER = (
    "profile",
    "data",
    "model",
    "attack",
    "method",
    "head",
    "defence",
    "seed",
    "strength",
    "alpha",
    "clean",
    "task",
)
"""By which rows are sorted."""


def write(units: Iterable[Mapping[str, Any]], out: Path) -> None:
    """Every table of which there are rows: those that are in ``out`` already, and after them those of
    ``units`` (task, seconds, rows) whose task has none there.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = read(out)
    rows = [row for there in before.values() for row in there]
    for unit in units:
        new = [{**row, "task": unit["task"]} for row in unit["rows"]]
        rows += [row for row in new if _task(row) not in before]
    for table, file in FILES.items():
        own = [{k: v for k, v in row.items() if k != "table"} for row in rows if row["table"] == table]
        if own:
            own.sort(key=lambda r: tuple(str(r.get(k, "")) for k in ORDER))
            provenance.write_figures(out / file, own, COMMAND, 0)


def _task(row: Mapping[str, Any]) -> str:
    """Tells a task of one profile from that of another."""
    profile = row.get("profile", "")
    return f"{profile}:{row['task']}" if profile else str(row["task"])


def known(figures: Path, profile: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of ``figures`` that were made with ``profile``, by the name of the task."""
    every = read(figures).values()
    return {rows[0]["task"]: rows for rows in every if rows[0].get("profile", "") == profile}


def read(figures: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of ``figures`` by the task that made them, which names its profile, if it has one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, file in FILES.items():
        if (figures / file).is_file():
            for row in json.loads((figures / file).read_text("utf-8")):
                del row["command"]
                found.setdefault(_task(row), []).append({**row, "table": table})
    return found
