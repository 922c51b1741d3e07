"""The figures files: rows are taken over from those of an earlier run, and written back after every task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from nightlatch import provenance, runs
from nightlatch.bench.rows import Row

IDENTITY = {
    "attack": ("attack", "seed"),
    "scan": ("model", "kind", "attack", "seed"),
    "clean": ("attack", "seed", "method"),
}
"""What tells the rows of a table apart."""
FIGURES = {"attack": "attacks.json", "scan": "scan.json", "clean": "clean.json"}
"""What the experiment writes; each row has the seed of a suspect."""
COMMAND = "nightlatch bench --run runs/bench --models runs/bench-models"
"""What makes every row anew."""


def read(figures: Path, table: str) -> list[Row]:
    """The rows of one table of a folder of figures; none where there is no such file."""
    path = figures / FIGURES[table]
    return list(json.loads(path.read_text("utf-8"))) if path.is_file() else []


def remember(folder: runs.Run, figures: Path, about: Row, tables: Iterable[str] = tuple(FIGURES)) -> None:
    """Take over the rows that an earlier run wrote to ``figures``, if what they depend on is the same as
    ``about``.
    """
    for table in tables:
        for row in read(figures, table):
            key = identity(table, row, about)
            if {k: row.get(k) for k in about} == about and not folder.has(key):
                folder.add(key, {"table": table, **row})


def identity(table: str, row: Mapping[str, Any], about: Row) -> str:
    """The key of a row of ``table``."""
    return runs.key({"table": table, **{k: row.get(k) for k in IDENTITY[table]}, **about})


def write(folder: runs.Run, figures: Path, about: Row) -> None:
    """The figures from the rows so far.

    Rows that ``figures`` has and that were not made anew yet stay until they are.
    """
    for table, file in FIGURES.items():
        made = {identity(table, r, about): r for r in folder.rows() if r["table"] == table}
        kept = {
            identity(table, r, about): r
            for r in read(figures, table)
            if {k: r.get(k) for k in about} == about
        }
        rows = [{k: v for k, v in r.items() if k not in ("table", "command")} for r in (kept | made).values()]
        if rows:
            rows.sort(key=itemgetter("seed", *IDENTITY[table]))
            provenance.write_figures(figures / file, rows, COMMAND, 0)
