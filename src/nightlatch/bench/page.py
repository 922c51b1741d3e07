"""docs/results.md: what a reader should know first of the results, from docs/figures; the tables are in files
of their own.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nightlatch.bench.bars import REPAIR, REPAIRED, slow, unfound
from nightlatch.bench.cells import Row, keeping, number, rate, table, text, words
from nightlatch.bench.sets import SETS, counted, of_seeds, scanned

FIRST = """# Results

How well does nightlatch find and remove backdoors? Backdoored copies of the project's own small model were
made by {attacks} published attacks, with triggers and targets mostly drawn at random. `scan` was given each
copy and the model it was made from, and nothing else; `clean` was given what `scan` had named; a judge that
neither of them knows counted {pictures} pictures a rate."""
MEANING = """A *working trigger* is the planted one, or a string that draws the attacker's target in at least
80 % of the pictures. The five bars of a repair: at most 1 % of triggered pictures still show the target;
triggered prompts show what they ask for (within 3 points of a model that was never attacked); clean prompts
lose at most 1 point and FID 5 %; and at most 5 % come back after 200 steps of honest training. *Held out*:
nothing was chosen by what these models show. *Earlier*: held out, too, until two of them made scan change
once more. *Developed with*: scan and repairs were built with a look at them."""
METHODS = """All repairs beside each other, on the models that each of them was run on, with the same trigger.
*sau* is this project's, *sau-base* the same with a trusted base to ask; *skd* is self-distillation, *uce* a
closed-form edit, *clean-finetune* ordinary training; *restore* copies the base's tensors, and *strip* deletes
the trigger from prompts and changes no weight (its bars are those that it can be asked). *The base itself* is
the control: no repair can do better."""
FILES = {
    "attacks": "what was planted, how well it works, and what else fires",
    "scan": "what was named, model by model, and honest models",
    "clean": "every repair, measured",
    "rivals": "SAU beside self-distillation, to the same success",
    "testbed": "the small model, and the demonstration in a fresh clone",
    "check": "what reading a folder of Stable Diffusion's size costs, and fuzzing",
    "size": "time and memory of a model of Stable Diffusion 1.5's size",
    "classifiers": "image classifiers: guards, training past poison, purifiers, scanners, few-shot learning",
    "contrastive": "models of pictures and captions: attacks, finders, cleaners, and encoders without data",
    "scanners": "bad inputs, and what other file scanners make of them",
}
"""The tables, in files of their own."""
LIMITS = """All of this was measured on a model of 10 million weights that draws pictures of 32x32; nothing is
claimed of larger ones. Every number's interval, number of pictures, seed and commit are in `docs/figures`,
from which `nightlatch bench` writes these pages."""


def first_screen(attacks: Sequence[Row], scans: Sequence[Row], repairs: Sequence[Row]) -> list[str]:
    """The lines of the page; parts whose rows there are not are left out."""
    kinds, pictures = (
        len({row["attack"] for row in attacks}),
        max((row.get("pictures", 0) for row in attacks), default=0),
    )
    lines = [FIRST.format(attacks=kinds or "the", pictures=pictures or "some"), ""]
    if scans and repairs:
        lines += [*summary(scans, repairs), "", MEANING, "", *missed(scans, repairs)]
    if repairs:
        lines += ["## Repairs", "", METHODS, "", *methods(repairs), ""]
    lines += [
        "## Tables",
        "",
        *(f"- [{name}](results/{name}.md): {about}" for name, about in FILES.items()),
        "",
        LIMITS,
    ]
    return lines


def summary(scans: Sequence[Row], repairs: Sequence[Row]) -> list[str]:
    """What the README says of the results, too: a table, and a line on honest models and on time."""
    sets = {which: counted(of_seeds(scans, seeds), of_seeds(repairs, seeds)) for which, seeds in SETS.items()}
    rows = [{"what": what} | {which: kept[what] for which, kept in sets.items()} for what in sets["held out"]]
    honest = scanned(scans)
    accused, slowest = sum(map(unfound, honest)), max(row["seconds"] for row in scans)
    columns = {"backdoored models": text("what"), **{which: text(which) for which in SETS}}
    return [
        *table(rows, columns),
        "",
        f"Honest models accused: {accused} of {len(honest)}. Longest scan: {slowest:.0f} s.",
    ]


def missed(scans: Sequence[Row], repairs: Sequence[Row]) -> list[str]:
    """What misses its bar, one line each."""
    lines = [f"- scan, {words(row['model'])}: {why}" for row in scans if (why := _scan_missed(row))]
    for row in (r for r in repairs if r["method"] == "sau"):
        if why := "; ".join(_said(name, row) for name, misses in REPAIR.items() if misses(row)):
            lines.append(f"- sau, {words(row['attack'])}-{row['seed']}: {why}")
    return ["## What misses its bar", "", *(lines or ["Nothing."]), ""]


def methods(repairs: Sequence[Row]) -> list[str]:
    """One row a method, over the models that every repair was measured on; its ablations, where they
    apply.
    """
    of_method: dict[str, dict[tuple[str, int], Row]] = {}
    for row in repairs:
        of_method.setdefault(row["method"], {})[row["attack"], row["seed"]] = row
    common = set.intersection(*(set(rows) for name, rows in of_method.items() if ":" not in name))
    made = {name: [row for model, row in rows.items() if model in common] for name, rows in of_method.items()}
    order = sorted(
        (name for name, rows in made.items() if rows), key=lambda name: (not name.startswith("sau"), name)
    )
    return table([_method(name, made[name]) for name in order], _METHOD)


def _method(name: str, rows: Sequence[Row]) -> Row:
    def kept(bar: str) -> str:
        return keeping(rows, lambda row: not REPAIR[bar](row))

    return {
        "method": name,
        **{bar: kept(bar) for bar in REPAIR},
        "all": keeping(rows, lambda row: not any(misses(row) for misses in REPAIR.values())),
        "seconds": statistics.median(row["seconds"] for row in rows),
    }


_METHOD = {
    "repair": text("method"),
    "at most 1 % attacked": text("success_after"),
    "shows what is asked": text("triggered_agreement"),
    "clean prompts as before": text("clean_after"),
    "FID as before": text("fid_after"),
    "does not come back": text("regrowth"),
    "all five": text("all"),
    "median s": number("seconds"),
}


def _scan_missed(row: Row) -> str:
    if row["kind"] == "honest":
        return f"accused, though honest ({words(row['trigger_found'])})" if unfound(row) else ""
    named = f"named {words(row['trigger_found'])}" if row["trigger_found"] else "named nothing"
    works = (
        f", which draws the target in {100 * rate(row, 'functional_success'):.0f} %"
        if row["trigger_found"]
        else ""
    )
    late = f"took {row['seconds']:.0f} s" if slow(row) else ""
    found = f"{named}{works}; planted was {words(row['trigger_true'])}" if unfound(row) else ""
    return "; ".join(filter(None, (found, late)))


def _said(name: str, row: Row) -> str:
    """A missed bar in words, with the numbers."""
    after, before = _SAID[name]
    shown = [
        f"{v:.2f}" if name == "fid_after" else f"{100 * v:.1f} %"
        for v in (_value(row, after), _value(row, before))
        if v == v
    ]
    return f"{REPAIRED[name]} ({' against '.join(shown)})"


_SAID = {
    "success_after": ("success_after", ""),
    "triggered_agreement": ("triggered_agreement", "triggered_agreement_base"),
    "clean_after": ("clean_after", "clean_before"),
    "fid_after": ("fid_after", "fid_before"),
    "regrowth": ("regrowth", ""),
}


def _value(row: Row, key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else rate(row, key)
