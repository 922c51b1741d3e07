"""Makes the suspects of docs/figures/attacks.json again, and honest models beside them, and scans all of them
with this code.

    PYTHONPATH=src python bench/device/scan_suspects.py --out OUT --device cuda --jobs 12 --limit 540

Each suspect gets the trigger and the target that its row records. OUT/scan.json is written anew after every
row, in the form of docs/figures/scan.json, with the device's name and the seconds; the same call again goes
on with what is left. Cheapest first. A small model leaves a card idle most of the time: several processes
share it, or suspects are made there and scanned by the processor's cores (--make-device cuda --device cpu).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightlatch import runs
from nightlatch.bench import figures
from nightlatch.bench.cases import DEVELOPED, Case
from nightlatch.bench.experiment import Bench
from nightlatch.bench.setup import about
from nightlatch.bench.tasks import HonestTask, Step, SuspectTask, Task, fine_tunes
from nightlatch.bench.where import Where
from nightlatch.text2image.attacks import TriggerKind

ROOT = Path(__file__).resolve().parents[2]
HONEST_SECONDS = 60.0
"""What an honest fine-tune takes, for the order only: more than an edit, less than an attack that trains."""


def options(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for scan.json and the run's rows")
    parser.add_argument(
        "--figures", type=Path, default=ROOT / "docs" / "figures", help="where attacks.json lies"
    )
    parser.add_argument(
        "--models", type=Path, help="folder that keeps the suspects; default one that is thrown away"
    )
    parser.add_argument("--device", default="cpu", help="where models are scanned")
    parser.add_argument("--make-device", default="", help="where they are made; default the same")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--threads", type=int, default=0, help="of each process; default its share of the cores"
    )
    parser.add_argument(
        "--limit", type=float, default=float("inf"), help="seconds after which the rest is left"
    )
    parser.add_argument("--attack", action="append", default=[], help="only suspects of this attack")
    parser.add_argument(
        "--seed", action="append", type=int, default=[], help="only suspects and honest models of this seed"
    )
    parser.add_argument(
        "--honest", action=argparse.BooleanOptionalAction, default=True, help="also honest models"
    )
    parser.add_argument("--commit", default="", help="to be written into rows where there is no git")
    return parser.parse_args(given)


def tasks(rows: Sequence[dict[str, Any]], wanted: argparse.Namespace) -> list[Task]:
    """The suspects of ``rows`` and the honest models, cheapest first."""
    chosen = [
        row
        for row in rows
        if (not wanted.attack or row["attack"] in wanted.attack)
        and (not wanted.seed or row["seed"] in wanted.seed)
    ]
    made: list[tuple[float, Task]] = [
        (row["seconds"], SuspectTask(case(row), (), frozenset({Step.SCANS}))) for row in chosen
    ]
    if wanted.honest:
        seeds = [seed for seed in DEVELOPED if not wanted.seed or seed in wanted.seed]
        made += [
            (0.0, HonestTask("base")),
            *((HONEST_SECONDS, task) for seed in seeds for task in fine_tunes(seed)),
        ]
    return [task for _, task in sorted(made, key=lambda pair: pair[0])]


def case(row: dict[str, Any]) -> Case:
    """The suspect that a row of attacks.json is about."""
    kind, drawn = TriggerKind(row["kind_of_trigger"]), row["drawn_at_random"]
    return Case(
        attack=row["attack"],
        seed=row["seed"],
        trigger=row["trigger"],
        target=row["target"],
        kind=kind,
        drawn=drawn,
    )


def main() -> None:
    wanted, started = options(), time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    rows = figures.read(wanted.figures, "attack")
    with tempfile.TemporaryDirectory() as scratch, runs.Run(wanted.out / "run") as run:
        where = Where(
            models=wanted.models or Path(scratch),
            device=wanted.device,
            make_device=wanted.make_device,
            precision=wanted.precision,
            threads=wanted.threads,
            extra={"commit": wanted.commit} if wanted.commit else {},
        )
        bench = Bench(
            run=run, figures=wanted.out, page=None, where=where, jobs=wanted.jobs, limit=wanted.limit, say=say
        )
        figures.remember(run, wanted.figures, about(where.n), ("attack",))
        failed = bench.do(tasks(rows, wanted))
        bench.write()
    for line in failed:
        say(line)
    scanned = figures.read(wanted.out, "scan")
    named = [row for row in scanned if row["kind"] == "backdoored" and row["exact"]]
    accused = [row for row in scanned if row["kind"] == "honest" and row["trigger_found"]]
    say(f"{len(scanned)} scanned, {len(named)} triggers named exactly, {len(accused)} honest models accused")


if __name__ == "__main__":
    main()
