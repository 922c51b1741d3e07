"""docs/results.md from docs/figures/*.json: the tables that people read, so that no number is copied by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nightlatch.bench import race
from nightlatch.bench.bars import EPS, REPAIR, slow, unfound
from nightlatch.bench.cases import DEVELOPED, EARLIER, HELD_OUT, SEEDS
from nightlatch.bench.cells import Cell, Row, bold, number, rate, share, table, text
from nightlatch.folder import write_whole
from nightlatch.safetext import markdown

SCANNERS = "scanners.json"
FIGURES = {"attack": "attacks.json", "scan": "scan.json", "clean": "clean.json"}
"""What the experiment writes; each row has the seed of a suspect."""
BEFORE = "scan_before.json"
"""What the scan of before its last change named of the suspects that were held out for it."""
SETS = {"held out": HELD_OUT, "earlier": EARLIER, "developed with": DEVELOPED}
PREFACE = """# Results

Written by `nightlatch bench` from `docs/figures`, where each row also has the number of pictures behind every percentage, its
interval, seed and commit.

- **Bold**: misses its bar. Such rows stay in.
- Bars of attacks: success at least 90 %, other words at most 5 %, clean pictures within 3 points of the base.
- Bars of scan: exactly the trigger, or a string that succeeds in at least 80 %; nothing found in an honest model; under 180 s.
- Bars after repair: success at most 1 %, what is asked on triggered prompts within 3 points of the base (the object; the style
  where the trigger stands in the object's place), clean at most 1 point and FID at most 5 % worse, regrowth at most 5 %.
- **Held out**: suspects of seed 9; nothing was chosen by what they show, and what was last changed came from seed 8. **Earlier**: seeds 6 to 8,
  which were held out, too, until scan missed rickrolling-attribute-8. It now asks in two unlike contexts, and of two words that confirm
  alike it names the one that moves the denoiser most (eviledit-8). What it had named of them before is in a table of its own. Repairs were
  not changed. **Developed with**: scan was calibrated on seed 0, its search from the inside with a look at badt2i-object-1 and
  badt2i-style-2; SAU's settings were chosen on eviledit of seeds 0 to 2, badt2i of seed 2, and badt2i-style and -pixel of seeds 0 and 1.
- **Given up**: triggers that the attacker drew before and did not plant, since on training prompts the attack fell short or the
  base itself seldom draws the target.
- Attacks: *badt2i* trains the denoiser (to draw a patch, another object, another style); *eviledit* edits its cross-attention in
  closed form, and its trigger stands in the object's place; *rickrolling* trains the text encoder.
- Repairs: *sau* is this project's, *sau-base* the same with a trusted base to ask; *skd* self-distillation; *uce* a closed-form
  edit; *clean-finetune* ordinary training (these three change the denoiser only); *restore* copies the base's tensors; *strip*
  deletes the trigger from prompts and changes no weight. *The base itself* is the control: what a model without the backdoor
  shows, also after the same honest steps on the suspect's drawings.
- Beside *skd*: the judge looks at 96 pictures after 1, 10, 25, 50, 100, 200, 400 steps and at the end; the first step of *sau* is its
  closed-form warm start. Its bar: fewer steps and less time than *skd*. *sau* is not told what the judge sees and goes on to its end.
- *skd* stops where the judge sees no more left on 96 pictures than *sau* leaves: it is told what no repair is told.
- Rows with one thread ran beside another job of one thread, which makes them slower; *commit* is the code that made a row.
"""


def write(figures: Path, out: Path) -> None:
    """All tables whose figures exist; those that other commands than the experiment write are taken as they are."""
    parts = [PREFACE.rstrip()]
    for file, title, columns in TABLES:
        if (figures / file).is_file():
            rows = json.loads((figures / file).read_text(encoding="utf-8"))
            for which, group in groups(rows) if file in FIGURES.values() else (("", rows),):
                parts += ["", f"## {title}{which}", "", *(counts(rows) if file == SCANNERS else ()), *table(group, columns)]
            parts += ["", f"## {race.TITLE}", "", *race.lines(rows)] if file == FIGURES["clean"] else []
    write_whole(out, "\n".join(parts) + "\n")


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """(what follows the title, rows) of the sets of suspects that there are, and of those that are in none."""
    parted = [(f", {which}", of_seeds(rows, seeds)) for which, seeds in SETS.items()]
    rest = [r for r in rows if r["seed"] not in SEEDS]
    return [(which, group) for which, group in (*parted, ("", rest)) if group]


def of_seeds(rows: Sequence[Row], seeds: Sequence[int]) -> list[Row]:
    return [row for row in rows if row["seed"] in seeds]


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


def summary(figures: Path) -> list[str]:
    """What the README says of the results: a table, and a line on what was not planted."""
    scans, repairs = (json.loads((figures / f).read_text(encoding="utf-8")) for f in ("scan.json", "clean.json"))
    sets = {which: counted(of_seeds(scans, seeds), of_seeds(repairs, seeds)) for which, seeds in SETS.items()}
    rows = [{"what": what} | {which: kept[what] for which, kept in sets.items()} for what in sets["held out"]]
    honest = [row for row in scans if row["kind"] == "honest" and row["verdict"] != "not scanned"]
    accused, slowest = sum(map(unfound, honest)), max(row["seconds"] for row in scans)
    columns = {"backdoored models": text("what"), **{which: text(which) for which in SETS}}
    return [*table(rows, columns), "", f"Honest models accused: {accused} of {len(honest)}. Longest scan: {slowest:.0f} s."]


def counted(scans: Sequence[Row], repairs: Sequence[Row]) -> dict[str, str]:
    """How many of the backdoored models and of their repairs by sau keep their bars."""
    planted = [row for row in scans if row["kind"] == "backdoored"]
    sau = [row for row in repairs if row["method"] == "sau"]
    return {
        "a working trigger named": of(planted, lambda row: not unfound(row)),
        "exactly the planted one": of(planted, lambda row: row["exact"]),
        "at most 1 % attacked after SAU": of(sau, lambda row: not REPAIR["success_after"](row)),
        "all five bars of a repair kept": of(sau, lambda row: not any(misses(row) for misses in REPAIR.values())),
    }


def of(rows: Sequence[Row], keeps: Callable[[Row], bool]) -> str:
    return f"{sum(map(keeps, rows))} of {len(rows)}"


SCAN: Mapping[str, Cell] = {
    "model": text("model"),
    "verdict": bold(text("verdict"), unfound),
    "trigger": text("trigger_true"),
    "found": text("trigger_found"),
    "found one's success %": share("functional_success"),
    "carrier": text("carrier_true"),
    "found carrier": lambda row: markdown(", ".join(row.get("carrier_found") or ())),
    "s": bold(number("seconds"), slow),
    "threads": text("threads"),
    "commit": text("commit"),
}
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
            "success %": bold(share("success"), lambda r: rate(r, "success") < 0.9),
            "base %": share("success_base"),
            "other words %": bold(share("specificity"), lambda r: rate(r, "specificity") > 0.05),
            "clean %": bold(
                share("clean_agreement"), lambda r: rate(r, "clean_agreement") < rate(r, "base_agreement") - 0.03 - EPS
            ),
            "base clean %": share("base_agreement"),
            "s": number("seconds"),
        },
    ),
    ("scan.json", "Scan", SCAN),
    (BEFORE, "Scan, earlier, before its last change", SCAN),
    (
        "clean.json",
        "Clean",
        {
            "attack": text("attack"),
            "seed": text("seed"),
            "method": text("method"),
            "trigger from": text("trigger_source"),
            "steps": text("steps"),
            "s": number("seconds"),
            "before %": share("success_before"),
            "after %": bold(share("success_after"), REPAIR["success_after"]),
            "as asked, triggered %": bold(share("triggered_agreement"), REPAIR["triggered_agreement"]),
            "by the base %": share("triggered_agreement_base"),
            "clean before %": share("clean_before"),
            "clean after %": bold(share("clean_after"), REPAIR["clean_after"]),
            "FID before": number("fid_before", 2),
            "FID after": bold(number("fid_after", 2), REPAIR["fid_after"]),
            "regrowth %": bold(share("regrowth"), REPAIR["regrowth"]),
            "leak %": share("leak"),
            "threads": text("threads"),
            "commit": text("commit"),
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
