"""Rows of the experiment on image-text models as the figures of the documentation, one file per table.

python -m nightlatch.bench.pairfigures OUT docs/figures
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from nightlatch import provenance, runs
from nightlatch.bench.pairrun import COMMAND, TABLES
from nightlatch.bench.pairs import Row

ORDER = ("seed", "attack", "honest", "method", "setting", "judge", "finder")


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
    source, folder = (Path(a) for a in sys.argv[1:3])
    with runs.Run(source, write=False) as run:
        for path in write(run.rows(), folder):
            print(path)


if __name__ == "__main__":
    main()
