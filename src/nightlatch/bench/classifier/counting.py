"""What the pages on image classifiers count with."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from nightlatch.bench.cells import Cell, Row
from nightlatch.records import Rate

ADDED = ("success", "accuracy", "success_patch_alone", "accuracy_clean")
"""Rates of the few-shot rows, whose parts are added up."""


def groups(rows: Iterable[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by what they have under ``keys``, in the order of first sight."""
    made: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        made.setdefault(tuple(str(row.get(k, "")) for k in keys), []).append(row)
    return made


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def percent(key: str) -> Cell:
    """A share in 0..1 as percent."""
    return lambda row: "-" if row.get(key) is None else f"{100 * row[key]:.1f}"


def together(rows: Iterable[Row]) -> list[dict[str, Any]]:
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
