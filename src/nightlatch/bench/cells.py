"""Cells of Markdown tables, from rows of figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nightlatch.safetext import markdown

Row = Mapping[str, Any]
Cell = Callable[[Row], str]


def table(rows: Iterable[Row], columns: Mapping[str, Cell]) -> list[str]:
    """A Markdown table; what the rows say is escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows)]


def text(key: str) -> Cell:
    return lambda row: markdown(str("" if row.get(key) is None else row[key]))


def share(key: str) -> Cell:
    """A rate as percent, with the upper end of its interval where it is small."""

    def cell(row: Row) -> str:
        rate = row.get(key)
        if not isinstance(rate, Mapping):
            return "-"
        shown = f"{100 * rate['rate']:.1f}"
        return f"{shown} (< {100 * rate['high95']:.1f})" if rate["rate"] < 0.1 else shown

    return cell


def number(key: str, digits: int = 0) -> Cell:
    return lambda row: "-" if row.get(key) is None else f"{row[key]:.{digits}f}"


def bold(cell: Cell, misses: Callable[[Row], bool]) -> Cell:
    """``cell`` in bold where the row ``misses`` its bar."""
    return lambda row: f"**{cell(row)}**" if misses(row) else cell(row)


def rate(row: Row, key: str) -> float:
    """The rate that ``row`` has under ``key``; not a number, which no bar is compared with, where it has none."""
    value = row.get(key)
    return value["rate"] if isinstance(value, Mapping) else math.nan
