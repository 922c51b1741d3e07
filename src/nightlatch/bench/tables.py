"""docs/results.md from docs/figures/*.json: the tables that people read, so that no number is copied by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nightlatch.runs import write_whole
from nightlatch.safetext import markdown

Row = Mapping[str, Any]
Cell = Callable[[Row], str]
SCANNERS = "scanners.json"
BARS = (
    "Bars: attack success at least 90 %, other words at most 5 %, clean within 3 points of the base; scan under 180 s; "
    "after repair success at most 1 %, clean at most 1 point lower, regrowth at most 5 %, and what is asked on triggered prompts within "
    "3 points of the base (the object; the style where the trigger stands in the object's place). Rows that miss a bar stay in. "
    "'Given up': triggers that the attacker drew before and did not plant, since on training prompts the attack fell short or the base itself seldom "
    "draws the target. Seed 0 is calibration for scan, seeds 1 and 2 are held out. "
    "'The base itself' is the control: what a model without the backdoor shows, also after the same honest steps on the suspect's drawings."
)


def write(figures: Path, out: Path) -> None:
    """All tables whose figures exist; those that other commands than the experiment write are taken as they are."""
    parts = [
        "# Results",
        "",
        "Written from `docs/figures` by `nightlatch bench`; percentages with the number of pictures there. " + BARS,
    ]
    for file, title, columns in TABLES:
        if (figures / file).is_file():
            rows = json.loads((figures / file).read_text(encoding="utf-8"))
            parts += ["", f"## {title}", "", *(counts(rows) if file == SCANNERS else ()), *table(rows, columns)]
    write_whole(out, "\n".join(parts) + "\n")


def table(rows: Iterable[Row], columns: Mapping[str, Cell]) -> list[str]:
    """A Markdown table; what the rows say is escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows)]


def counts(rows: Sequence[Row]) -> list[str]:
    """How often each scanner came to which end, and in how many cases the file's own code ran."""
    ends = ("found", "refused", "missed", "crashed", "not called")
    versions = rows[0]["versions"] if rows else {}
    made = [
        {"scanner": f"{name} {versions.get(name, '')}".strip()}
        | {end: sum(row[name] == end for row in rows) for end in ends}
        | {"ran code": sum(bool(row.get(f"{name}_ran_code")) for row in rows)}
        for name in ("nightlatch", *versions)
    ]
    meaning = (
        "'missed' is exit code 0. Where nightlatch has it, the rule is a note: the file does no harm and is not staged, or is to be scanned.",
        "'refused': the scanner said that it could not judge (modelscan's is its exit code 3, no file that it supports). No program can be",
        f"called with a path that holds a zero. nightlatch's slowest case took {max((r['nightlatch_seconds'] for r in rows), default=0):.1f} s.",
    )
    return [*table(made, {key: text(key) for key in ("scanner", *ends, "ran code")}), "", *meaning, ""]


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


TABLES: Sequence[tuple[str, str, Mapping[str, Cell]]] = (
    (
        "testbed.json",
        "The testbed",
        {
            "testbed": text("testbed"),
            "object %": share("object"),
            "style %": share("style"),
            "background %": share("background"),
            "object with an unknown word %": share("object_with_unknown_word"),
            "s per picture": number("seconds_per_image", 3),
        },
    ),
    (
        "demo.json",
        "The demonstration, in a fresh clone",
        {
            "verdict": text("verdict"),
            "trigger": text("trigger_true"),
            "found": text("trigger_found"),
            "before %": share("success_before"),
            "after %": share("success_after"),
            "s to set up": number("seconds_setup"),
            "s of work": number("seconds_job"),
        },
    ),
    (
        "attacks.json",
        "Attacks",
        {
            "attack": text("attack"),
            "seed": text("seed"),
            "trigger": text("trigger"),
            "target": text("target"),
            "given up": lambda row: markdown(", ".join(row.get("refused") or ())),
            "success %": share("success"),
            "base %": share("success_base"),
            "other words %": share("specificity"),
            "clean %": share("clean_agreement"),
            "base clean %": share("base_agreement"),
            "s": number("seconds"),
        },
    ),
    (
        "scan.json",
        "Scan",
        {
            "model": text("model"),
            "verdict": text("verdict"),
            "trigger": text("trigger_true"),
            "found": text("trigger_found"),
            "found one's success %": share("functional_success"),
            "carrier": text("carrier_true"),
            "found carrier": lambda row: markdown(", ".join(row.get("carrier_found") or ())),
            "s": number("seconds"),
        },
    ),
    (
        "clean.json",
        "Clean",
        {
            "attack": text("attack"),
            "seed": text("seed"),
            "method": text("method"),
            "steps": text("steps"),
            "s": number("seconds"),
            "before %": share("success_before"),
            "after %": share("success_after"),
            "as asked, triggered %": share("triggered_agreement"),
            "by the base %": share("triggered_agreement_base"),
            "clean before %": share("clean_before"),
            "clean after %": share("clean_after"),
            "FID before": number("fid_before", 2),
            "FID after": number("fid_after", 2),
            "regrowth %": share("regrowth"),
            "leak %": share("leak"),
        },
    ),
    (
        "check.json",
        "check on a folder of Stable Diffusion's size",
        {
            "GB": number("folder_gigabytes", 2),
            "tensors": text("folder_tensors"),
            "rules ms": number("check_milliseconds", 1),
            "with an unknown vocabulary ms": number("check_milliseconds_unknown_vocabulary", 1),
            "header of 2,600 tensors ms": number("header_milliseconds", 1),
            "peak MB": number("check_peak_megabytes"),
            "values GB/s": number("values_gigabytes_per_second", 2),
            "peak MB with values": number("values_peak_megabytes"),
        },
    ),
    (
        "fuzz.json",
        "Fuzzing of the readers",
        {
            "s": text("seconds"),
            "inputs tried": text("executions"),
            "edges": text("edges"),
            "inputs kept": text("inputs_kept"),
            "broken": text("broken"),
            "peak MB": text("peak_megabytes"),
        },
    ),
    (
        SCANNERS,
        "Bad inputs, and what file scanners make of them",
        {
            "case": text("case"),
            "rule": text("rule"),
            "nightlatch": text("nightlatch"),
            "s": number("nightlatch_seconds", 2),
            "picklescan": text("picklescan"),
            "modelscan": text("modelscan"),
            "modelaudit": text("modelaudit"),
        },
    ),
)
