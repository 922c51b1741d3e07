"""What the pages on image classifiers count with."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from nightlatch.bench.cells import Cell, Row


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
