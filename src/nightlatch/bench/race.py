"""sau beside skd: which of the two is sooner where sau ends, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nightlatch.bench.bars import REPAIR
from nightlatch.bench.cells import Cell, Row, bold, number, rate, share, table, text


def lines(rows: Sequence[Row]) -> list[str]:
    """sau beside skd: what each takes until the judge sees no more left than sau leaves at its end."""
    ends = {(row["attack"], row["seed"]): row for row in rows if row["method"] == "sau"}
    both = [(ends[row["attack"], row["seed"]], row) for row in rows if row["method"] == "skd"]
    pairs = []
    for sau, skd in both:
        made: dict[str, Any] = {**sau, "goal": sau["success_after"], "sau": sau, "skd": skd}
        for name in ("sau", "skd"):
            made[f"{name}_steps"], made[f"{name}_seconds"] = reached(made[name], rate(sau, "success_after"))
        pairs.append(made)
    return table(pairs, COLUMNS)


def reached(row: Row, goal: float) -> tuple[float | None, float | None]:
    """(steps, seconds) until the judge saw at most ``goal`` left, after a checkpoint or at the end; None
    where it never did.
    """
    clock, end = row.get("seconds_by_step") or {}, (row["steps"], row["seconds"])
    for step, left in sorted(row["success_by_step"].items(), key=lambda seen: int(seen[0])):
        if left <= goal:
            return int(step), clock.get(step, row["seconds"])
    return end if rate(row, "success_after") <= goal else (None, None)


def behind(key: str) -> Callable[[Row], bool]:
    """Whether sau takes no less of ``key`` than skd, or does not get there, and skd does."""

    def late(row: Row) -> bool:
        sau, skd = row[f"sau_{key}"], row[f"skd_{key}"]
        return skd is not None and (sau is None or sau >= skd)

    return late


def measured(name: str, key: str) -> Cell:
    """The rate that ``name`` has under ``key``, in bold where it misses its bar."""
    cell = bold(share(key), REPAIR[key])
    return lambda row: cell(row[name])


TITLE = "SAU beside self-distillation, to the same success"
COLUMNS: Mapping[str, Cell] = {
    "attack": text("attack"),
    "seed": text("seed"),
    "to at most %": share("goal"),
    "sau steps": bold(number("sau_steps"), behind("steps")),
    "skd steps": number("skd_steps"),
    "sau s": bold(number("sau_seconds"), behind("seconds")),
    "skd s": number("skd_seconds"),
    "sau steps to its end": number("steps"),
    "sau clean %": measured("sau", "clean_after"),
    "skd clean %": measured("skd", "clean_after"),
    "sau as asked %": measured("sau", "triggered_agreement"),
    "skd as asked %": measured("skd", "triggered_agreement"),
}
"""What is printed of a race; its bar: fewer steps and less time than skd."""
