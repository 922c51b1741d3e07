"""Suspects of six families are made, scanned and cleaned, by the repair that clean chooses and by every rival.

    PYTHONPATH=src python bench/device/clean.py --out OUT --device cuda --jobs 7 --limit 540 [--only MODEL] [--tiny]
    PYTHONPATH=src python bench/device/clean.py --figures docs/figures --out OUT

The first form appends one line to OUT/rows.jsonl for every cell as soon as it is done, most valuable cells
first, and ends itself before the limit; called again it goes on with what is left. Suspects lie in a folder of
this machine that is thrown away, unless --data names one. The second form turns the rows into figures.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightlatch import provenance, runs
from nightlatch.bench import removal, removal_figures
from nightlatch.bench.pool import Pool
from nightlatch.bench.removal_plan import cells
from nightlatch.bench.removal_tasks import TABLE, Removal
from nightlatch.bench.rows import Row
from nightlatch.bench.setup import about
from nightlatch.bench.where import Where

SPARE = 8.0
"""Seconds before the limit at which workers are ended."""


def options(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.jsonl")
    parser.add_argument("--data", type=Path, help="folder that keeps the suspects")
    parser.add_argument("--device", default="cpu", help="where everything is computed")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds")
    parser.add_argument(
        "--only", action="append", default=[], help="only cells of this suspect, or of this name"
    )
    parser.add_argument("--tiny", action="store_true", help="walk through every kind of cell, for no figure")
    parser.add_argument("--pictures", type=int, default=300, help="for each rate; twice as many clean ones")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--cells", action="append", default=[], help="only these, as MODEL/CELL")
    parser.add_argument("--commit", default="", help="to be written into rows where there is no git")
    parser.add_argument("--taken", type=Path, help="folder of figures whose rows are not made again")
    parser.add_argument("--figures", type=Path, help="turn the rows of --out into figures there, and end")
    return parser.parse_args(given)


@dataclass(slots=True)
class Lines:
    """Rows in a file, one a line, written as soon as they exist."""

    path: Path
    depends: Mapping[str, Any]
    rows: dict[str, Row] = field(default_factory=dict)

    def load(self) -> None:
        """What an earlier call wrote; a last line that was cut off is left out."""
        for line in self.path.read_text("utf-8").splitlines() if self.path.is_file() else ():
            try:
                self.know(json.loads(line))
            except json.JSONDecodeError:
                continue

    def know(self, row: Row) -> None:
        """Take over a row that is there already, whatever number of pictures it rests on."""
        identity = {"table": TABLE, "model": row["model"], "what": row["what"]}
        self.rows[runs.key({**identity, **self.depends})] = row

    def has(self, key: str) -> bool:
        return key in self.rows

    def row(self, key: str) -> Row:
        return self.rows[key]

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        self.rows[key] = dict(row)
        with self.path.open("a", encoding="utf-8") as opened:
            opened.write(provenance.dumps(row, ensure_ascii=False) + "\n")


TINY_MODELS = ("edit-8", "two", "inversion", "lora", "pixel")
"""Suspects that a walk through the experiment makes: one of each kind."""


def walked(cell: Removal) -> bool:
    """Whether a walk through the experiment does ``cell``: all of one suspect, the ablations of another."""
    if cell.what in removal.RIVALS:
        return cell.model == "edit-8"
    return cell.model in TINY_MODELS


def ended(number: int, frame: object) -> None:
    """An end from outside is an end all the same: workers are not left behind."""
    raise SystemExit(128 + number)


def main() -> None:
    wanted, started = options(), time.monotonic()
    signal.signal(signal.SIGTERM, ended)
    wanted.out.mkdir(parents=True, exist_ok=True)
    if wanted.figures:
        removal_figures.write(wanted.out / "rows.jsonl", wanted.figures)
        return

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    n = 12 if wanted.tiny else wanted.pictures
    store = Lines(wanted.out / "rows.jsonl", about(n))
    for row in removal_figures.read(wanted.taken) if wanted.taken else ():
        store.know(row)
    store.load()
    todo = [c for c in cells(wanted.tiny) if not wanted.only or {c.model, c.what} & set(wanted.only)]
    if wanted.cells:
        todo = [c for name in wanted.cells for c in todo if f"{c.model}/{c.what}" == name]
    if wanted.tiny:
        todo = [cell for cell in todo if walked(cell)]
    with tempfile.TemporaryDirectory() as scratch:
        where = Where(
            models=wanted.data or Path(scratch),
            device=wanted.device,
            n=n,
            threads=wanted.threads,
            n_clean=16 if wanted.tiny else 2 * n,
            extra={"commit": wanted.commit} if wanted.commit else {},
        )
        pool = Pool(where=where, jobs=wanted.jobs, say=say, until=started + wanted.limit - SPARE)
        failed = pool(todo, store, store.rows)
    for line in failed:
        say(line)
    say(f"{len(store.rows)} rows, {len(failed)} cells failed or left")


if __name__ == "__main__":
    main()
