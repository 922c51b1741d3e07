"""Sets of suspects, by what was chosen with a look at them, and how many of each keep their bars."""

from __future__ import annotations

from collections.abc import Sequence

from nightlatch.bench.bars import REPAIR, unfound
from nightlatch.bench.cases import DEVELOPED, EARLIER, HELD_OUT, SEEDS
from nightlatch.bench.cells import Row, keeping

SETS = {"held out": HELD_OUT, "earlier": EARLIER, "developed with": DEVELOPED}


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """(name, rows) of the sets that there are; those of other seeds have no name."""
    parted = [(which, of_seeds(rows, seeds)) for which, seeds in SETS.items()]
    rest = [r for r in rows if r["seed"] not in SEEDS]
    return [(which, group) for which, group in (*parted, ("", rest)) if group]


def of_seeds(rows: Sequence[Row], seeds: Sequence[int]) -> list[Row]:
    return [row for row in rows if row["seed"] in seeds]


def counted(scans: Sequence[Row], repairs: Sequence[Row]) -> dict[str, str]:
    """How many of the backdoored models and of their repairs by sau keep their bars."""
    planted = [row for row in scans if row["kind"] == "backdoored"]
    sau = [row for row in repairs if row["method"] == "sau"]
    return {
        "a working trigger named": keeping(planted, lambda row: not unfound(row)),
        "exactly the planted one": keeping(planted, lambda row: row["exact"]),
        "at most 1 % attacked after SAU": keeping(sau, lambda row: not REPAIR["success_after"](row)),
        "all five bars of a repair kept": keeping(
            sau, lambda row: not any(misses(row) for misses in REPAIR.values())
        ),
    }


def scanned(scans: Sequence[Row]) -> list[Row]:
    """The honest models that could be scanned."""
    return [row for row in scans if row["kind"] == "honest" and row["verdict"] != "not scanned"]
