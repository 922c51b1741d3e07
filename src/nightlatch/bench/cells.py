"""Cells of Markdown tables, from rows of figures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nightlatch.safetext import hidden, markdown

Row = Mapping[str, Any]
Cell = Callable[[Row], str]
_PLAIN = re.compile(r"[A-Za-z0-9 ,\-]*")
LONGEST, NAMED = 200, 6
"""Characters of a text that are shown, and odd ones among them whose code points are."""


def table(rows: Iterable[Row], columns: Mapping[str, Cell]) -> list[str]:
    """A Markdown table; what the rows say is escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows)]


def words(said: str) -> str:
    """``said`` as plain words inside Markdown, odd characters with their code points: ``π (U+03C0)``.

    What is not seen, or would act on its neighbours, is its code point only.
    """
    if _PLAIN.fullmatch(said) and len(said) <= LONGEST:
        return said
    cut = said[:LONGEST]
    seen = "".join(markdown(c) if c.isascii() else c for c in cut if not hidden(c))
    odd = [f"U+{ord(c):04X}" for c in cut if hidden(c) or not c.isascii()]
    codes = " ".join(odd[:NAMED]) + (" …" if len(odd) > NAMED else "")
    shown = f"{seen} ({codes})".strip() if odd else seen
    return shown if cut == said else f"{shown} … {len(said) - LONGEST} more characters"


def text(key: str) -> Cell:
    return lambda row: words(str("" if row.get(key) is None else row[key]))


def listed(key: str) -> Cell:
    return lambda row: ", ".join(map(words, row.get(key) or ()))


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
    """The rate that ``row`` has under ``key``; not a number, which no bar is compared with, where it has
    none.
    """
    value = row.get(key)
    return value["rate"] if isinstance(value, Mapping) else math.nan


def keeping(rows: Iterable[Row], keeps: Callable[[Row], bool]) -> str:
    """How many of ``rows`` keep a bar: '13 of 15'."""
    counted = [keeps(row) for row in rows]
    return f"{sum(counted)} of {len(counted)}"
