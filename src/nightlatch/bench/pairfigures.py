"""Rows of the experiment on image-text models as the figures of the documentation, one file per table.

python -m nightlatch.bench.pairfigures OUT_OR_ROWS [MORE ...] docs/figures
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from nightlatch import provenance, runs
from nightlatch.bench.pairrun import COMMAND, TABLES
from nightlatch.bench.pairs import Row

ORDER = ("device", "seed", "attack", "honest", "method", "setting", "judge", "finder")


def flat(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows as the figures have them: one per finder, and the table's name left out."""
    for row in rows:
        rest = {k: v for k, v in row.items() if k != "table"}
        finders = rest.pop("finders", None)
        if finders is None:
            yield rest
            continue
        for name, found in finders.items():
            yield {**rest, "finder": name, **found}


def read(source: Path) -> list[Row]:
    """The rows of a run's folder, or of a copy of its rows.jsonl; a line that was cut off is left out."""
    if source.is_dir():
        with runs.Run(source, write=False) as run:
            return run.rows()
    rows: list[Row] = []
    for line in source.read_text("utf-8").splitlines():
        with suppress(ValueError):
            rows.append(json.loads(line)["row"])
    return rows


def write(rows: list[Row], folder: Path) -> list[Path]:
    """One file per table that has rows, in the order of their identity; returns the files."""
    made = []
    for table in TABLES:
        mine = list(flat(r for r in rows if r["table"] == table))
        mine.sort(key=lambda r: [str(r.get(k, "")) for k in ORDER])
        if mine:
            path = folder / f"contrastive_{table}.json"
            provenance.write_figures(path, mine, COMMAND, 0)
            made.append(path)
    return made


def main() -> None:
    *sources, folder = (Path(a) for a in sys.argv[1:])
    for path in write([row for source in sources for row in read(source)], folder):
        print(path)


if __name__ == "__main__":
    main()
