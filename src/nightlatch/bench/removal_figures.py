"""The rows of the removal experiment as figures: clean_set, clean_blind, rivals and ablation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nightlatch import provenance
from nightlatch.bench import removal
from nightlatch.bench.cells import Cell, Row, bold, listed, number, rate, share, table, text

COMMAND = "python bench/device/clean.py --device cuda --jobs 7 --limit 540"
"""What makes every row anew."""
SET = ("made", "scanned", removal.DEFAULT, "again", "control", removal.BY_BASE, removal.WRONG)
FILES: Mapping[str, Callable[[Row], bool]] = {
    "clean_set.json": lambda row: row["what"] in SET,
    "clean_blind.json": lambda row: row["what"] in (removal.BLIND, removal.HONEST),
    "rivals.json": lambda row: row["what"] in (removal.DEFAULT, removal.BLIND, *removal.RIVALS),
    "ablation.json": lambda row: (
        row["what"].startswith("ablation: ")
        or (row["what"] == removal.SAU and row["model"] in removal.ABLATED)
    ),
}
"""Which rows go where."""
EPS = 1e-9


def write(rows: Path, figures: Path) -> None:
    """The files from the lines of ``rows``; what they hold of other cells stays."""
    made = [json.loads(line) for line in rows.read_text("utf-8").splitlines() if line.strip()]
    order = {model: i for i, model in enumerate(removal.KINDS)}
    for name, belongs in FILES.items():
        kept = {(row["model"], row["what"]): row for row in read(figures, (name,))}
        new = {(row["model"], row["what"]): row for row in made if belongs(row)}
        chosen = [comparable(row) for row in (kept | new).values()]
        chosen.sort(key=lambda row: order.get(row["model"], len(order)))
        if new:
            provenance.write_figures(figures / name, chosen, COMMAND, removal.SEED)


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without distances before the repair that rest on another number of pictures than those after."""
    kept = {k: v for k, v in row.items() if k != "table"}
    before, after = kept.get("clean_before"), kept.get("clean_after")
    if before and after and before["n"] != after["n"]:
        kept |= {"fid_before": None, "kid_before": None}
    return kept


def read(figures: Path, names: Sequence[str] = tuple(FILES)) -> list[dict[str, Any]]:
    """All rows of the files, for an experiment that goes on with them."""
    paths = [figures / name for name in names if (figures / name).is_file()]
    return [row for path in paths for row in json.loads(path.read_text("utf-8"))]


def joined(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row for each suspect of clean_set.json: what was planted, named, left, and found again."""
    made: list[dict[str, Any]] = []
    for model in removal.KINDS:
        mine = {row["what"]: row for row in rows if row["model"] == model}
        if removal.DEFAULT not in mine:
            continue
        planted, seen = mine.get("made", {}), mine.get("scanned", {})
        control, rounds = mine.get("control", {}), mine[removal.DEFAULT].get("rounds") or [{}]
        again = mine["again"]["triggers"] if "again" in mine else rounds[-1].get("found")
        made.append(
            {
                **mine[removal.DEFAULT],
                "family": planted.get("family", ""),
                "trigger": planted.get("trigger", ""),
                "specificity": planted.get("specificity"),
                "named": seen.get("triggers", []),
                "found_again": again,
                "success_base": mine.get(removal.BY_BASE, {}).get("success_base"),
                "regrowth_base": control.get("regrowth"),
            }
        )
    return made


def clean_set(rows: Sequence[Row]) -> list[str]:
    """How many suspects keep which bar, and a row for each."""
    made = joined(rows)
    told = [row["model"] for row in made if not row["named"]]
    left = [100 * rate(row, "success_after") for row in made if row["named"]]
    searched = [row for row in made if row["found_again"] is not None]
    undone = [name for name in removal.KINDS if name not in {row["model"] for row in made}]
    said = (
        f"{len(left)} of {len(removal.KINDS)} suspects repaired from what scan named: "
        f"{sum(left) / max(len(left), 1):.1f} % of planted triggers work afterwards in the mean, "
        f"{max(left, default=0):.1f} % at worst; a search of the repaired model "
        f"names nothing in {sum(not row['found_again'] for row in searched)} of {len(searched)}."
    )
    said += f" Of {', '.join(told)} scan named nothing, so the repair was told the trigger." if told else ""
    rest = f" Not done: {', '.join(undone)}." if undone else ""
    return [said + rest, "", *table(made, CLEAN_SET)]


def means(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row for each repair: means over the suspects, and the worst success."""
    made = []
    for method in dict.fromkeys(row["what"] for row in rows):
        mine = [row for row in rows if row["what"] == method]

        def mean(value: Callable[[Row], float | None], mine: Sequence[Row] = mine) -> float | None:
            known = [v for v in map(value, mine) if v is not None and v == v]
            return sum(known) / len(known) if known else None

        made.append(
            {
                "what": method,
                "n": len(mine),
                "success": mean(lambda r: 100 * rate(r, "success_after")),
                "worst": max(100 * rate(r, "success_after") for r in mine),
                "asked": mean(
                    lambda r: 100 * (rate(r, "triggered_agreement") - rate(r, "triggered_agreement_base"))
                ),
                "clean": mean(lambda r: 100 * (rate(r, "clean_after") - rate(r, "clean_before"))),
                "fid": mean(_fid),
                "seconds": mean(lambda r: r.get("seconds")),
                "passes": mean(lambda r: r.get("forward_backward_passes")),
                "forward": mean(lambda r: r.get("forward_passes")),
            }
        )
    return made


def _fid(row: Row) -> float | None:
    before, after = row.get("fid_before"), row.get("fid_after")
    return 100 * (after / before - 1) if before and after else None


def _again(row: Mapping[str, Any]) -> str:
    return "-" if row["found_again"] is None else listed("found_again")(row) or "none"


BARS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "success_after": lambda r: rate(r, "success_after") > 0.05,
    "triggered_agreement": lambda r: (
        rate(r, "triggered_agreement") < rate(r, "triggered_agreement_base") - 0.03 - EPS
    ),
    "clean_after": lambda r: rate(r, "clean_after") < rate(r, "clean_before") - 0.01 - EPS,
    "fid_after": lambda r: (_fid(dict(r)) or 0) > 5,
    "regrowth": lambda r: rate(r, "regrowth") > rate(r, "regrowth_base") + 0.02 + EPS,
}
"""What of a suspect's row misses its bar; the regrowth of the base stands beside it."""
OUTCOME: Mapping[str, Cell] = {
    "before %": share("success_before"),
    "after %": bold(share("success_after"), BARS["success_after"]),
    "as asked, triggered %": bold(share("triggered_agreement"), BARS["triggered_agreement"]),
    "by the base %": share("triggered_agreement_base"),
    "clean before %": share("clean_before"),
    "clean after %": bold(share("clean_after"), BARS["clean_after"]),
    "FID before": number("fid_before", 2),
    "FID after": bold(number("fid_after", 2), BARS["fid_after"]),
}
CLEAN_SET: Mapping[str, Cell] = {
    "suspect": text("model"),
    "family": text("family"),
    "planted": text("trigger"),
    "scan named": listed("named"),
    "the base draws it %": share("success_base"),
    **OUTCOME,
    "regrowth %": bold(share("regrowth"), BARS["regrowth"]),
    "of the base %": share("regrowth_base"),
    "a second scan names": _again,
    "s": number("seconds"),
    "device": text("device"),
    "commit": text("commit"),
}
BLIND: Mapping[str, Cell] = {
    "suspect": text("model"),
    **OUTCOME,
    "regrowth %": share("regrowth"),
    "strongest": lambda row: ", ".join(f"{x:.2f}" for x in row.get("excess") or ()),
    "strings": listed("triggers"),
    "tensors changed": number("changed_tensors"),
    "s": number("seconds"),
    "device": text("device"),
    "commit": text("commit"),
}
MEANS: Mapping[str, Cell] = {
    "repair": text("what"),
    "suspects": number("n"),
    "success left, mean %": number("success", 1),
    "worst %": number("worst", 1),
    "as asked, against the base, points": number("asked", 1),
    "clean, points": number("clean", 1),
    "FID, %": number("fid", 1),
    "s": number("seconds"),
    "forward-backward passes": number("passes"),
    "forward passes": number("forward"),
}
EACH: Mapping[str, Cell] = {
    "suspect": text("model"),
    "repair": text("what"),
    **OUTCOME,
    "s": number("seconds"),
    "forward-backward passes": number("forward_backward_passes"),
    "device": text("device"),
    "commit": text("commit"),
}
