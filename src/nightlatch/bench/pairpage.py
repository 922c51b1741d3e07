"""docs/results/contrastive.md: what is printed of the experiment on image-text models."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from nightlatch.bench.cells import Cell, Row, bold, number, rate, share, table, text
from nightlatch.bench.pairs import CLEANERS
from nightlatch.contrastive import metrics
from nightlatch.contrastive.clean import METHODS

TITLE = "Image-text models"
ABOUT = """Small CLIPs (an image and a text tower of transformers' own classes) trained on emoji scenes with
relations, CIFAR-10, PACS and Tiny-ImageNet pictures of 48 pixels, then poisoned by published attacks. Nothing
here says anything about a CLIP of full size.

- An attack that leads fewer than 80 % of triggered pictures to its target is tried once more or twice
  with more poison and a stronger trigger, and else refused: it is listed, and nothing is cleaned of it.
- Finders see the pairs and one model: the *suspect*, trained on them, or a *clean model*, which never saw them
  poisoned. *k* is how many pairs are poisoned. Bars: mean AUROC 0.97, mean precision at k 0.9.
- Cleaners train for the same number of steps on trusted pairs; *known* are also given all poisoned pairs,
  *found* the 0.5 % that the finder `common-cause` named, *none* nothing. *shortcut* is this project's; the
  others are fine-tuning, CleanCLIP, TA-Cleaner-style sub-texts, PAR and UBT-style token unlearning.
- Bars of a cleaner, as means: top-1 success at most 3 %, top-10 at most 10 %, zero-shot accuracy and retrieval
  (R@1) at most 2 points lower, and at most 10 % top-1 after 300 and after 1,000 steps of honest training. *Base
  top-10* is where the target comes among the first ten for the same triggered pictures before anything was
  poisoned, *bare top-10* for pictures without the trigger after cleaning: no cleaner can be asked for less.
- *patch, in-modal* is the patch on a model whose own training had the in-modal loss, the hard case of
  CleanCLIP.
- Profile *large*, on the H100, where three experiments shared the card: models of 2.7 million weights, pictures of
  48 pixels. *Small*, on one processor core: 0.7 million and 32 pixels, less data, fewer steps, and 1,000 steps of
  honest training only where a number stands; up to eight processes shared two cores, so its seconds say little. Bases had not
  converged, so training on trusted pairs also teaches: a negative loss is no merit of a cleaner. Rows before
  commit bef7e2d mirrored pictures whose captions say left and right, as later ones do not.
- *shortcut, version 1* is an earlier algorithm of that cleaner; its rows on the H100 were not measured again.
  Version 2 was developed on the optimised patch alone, on scenes and a training of the attack of its own; every
  row below is the first that was measured of its model.
- The scan without data looks for the smallest patch that makes pictures alike (PL1, DECREE-style). Honest
  encoders are one base, trained on honestly with other seeds, so that they are no independent sample; of the
  backdoored ones three come from that base."""
Keep = Callable[[Row], bool]
BARS: Mapping[str, Keep] = {
    "top1_after": lambda r: r["top1_after"] <= 0.03,
    "top10_after": lambda r: r["top10_after"] <= 0.10,
    "zero_shot_lost": lambda r: r["zero_shot_lost"] <= 0.02,
    "retrieval_lost": lambda r: r["retrieval_lost"] <= 0.02,
    "rebound_300": lambda r: r["rebound_300"] <= 0.10,
    "rebound_1000": lambda r: r["rebound_1000"] <= 0.10,
}
"""What of a cleaner's means keeps its bar."""


def percent(key: str) -> Cell:
    """A mean as percent, bold where it misses its bar."""
    return bold(
        lambda r: "-" if r[key] != r[key] else f"{100 * r[key]:.1f}",
        lambda r: key in BARS and r[key] == r[key] and not BARS[key](r),
    )


def lost(row: Row, what: str) -> float:
    return rate(row, f"{what}_before") - rate(row, f"{what}_after")


def called(rows: Sequence[Row]) -> list[Row]:
    """Rows whose cleaner is called by its version, too, where that is not today's."""
    now = {name: METHODS.create(name) for name in METHODS.names()}

    def name(row: Row) -> str:
        version = str(row.get("version", "1"))
        today = getattr(now.get(row["method"]), "version", "1")
        return str(row["method"]) if version == today else f"{row['method']}, version {version}"

    return [{**row, "method": name(row)} for row in rows]


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def groups(rows: Sequence[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by what they have under ``keys``, in the order of first sight."""
    made: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        made.setdefault(tuple(str(row.get(k, "")) for k in keys), []).append(row)
    return made


def bases(rows: Sequence[Row]) -> list[str]:
    columns = {
        "model": lambda r: text("attack")(r) or "clean", "profile": text("profile"),
        "seed": text("seed"), "classes": text("classes"),
        "pairs": text("pairs"), "weights": text("weights"), "zero-shot %": share("zero_shot"),
        **{f"{d} %": _domain(d) for d in (rows[0]["domains"] if rows else ())}, "R@1 %": share("retrieval"),
        "s": number("seconds"),
    }  # fmt: skip
    return table(rows, columns)


def _domain(name: str) -> Cell:
    return lambda row: share("x")({"x": row["domains"].get(name)})


def attacks(rows: Sequence[Row]) -> list[str]:
    """Every attack with the setting that was kept, and what was tried before."""
    columns = {
        "attack": text("attack"), "profile": text("profile"), "seed": text("seed"), "target": text("target"),
        "poisoned": text("poisoned"),
        "steps": text("steps"), "top-1 %": bold(share("top1"), lambda r: bool(r.get("refused"))),
        "top-10 %": share("top10"), "clean model's top-1 %": share("base_top1"),
        "zero-shot before %": share("zero_shot_before"), "after %": share("zero_shot_after"), "tried": _tries,
    }  # fmt: skip
    return table([{**r, "top1": r.get("top1", r["tries"][-1]["top1"])} for r in rows], columns)


def _tries(row: Row) -> str:
    tried = [f"{100 * t['share']:g} %: {100 * t['top1']['rate']:.1f} %" for t in row["tries"]]
    return ("refused, " if row.get("refused") else "") + "; ".join(tried)


def found(rows: Sequence[Row]) -> list[str]:
    """Means over attacks and seeds, best first."""
    made = []
    for (finder, judge, profile), group in groups(rows, "finder", "judge", "profile").items():
        made.append({
            "finder": finder, "judge": judge, "profile": profile, "models": len(group), "auroc": mean(r["auroc"] for r in group),
            "worst": min(r["auroc"] for r in group), "precision": mean(r["precision_at_k"] for r in group),
            "least": min(r["precision_at_k"] for r in group), "seconds": mean(r["seconds"] for r in group),
        })  # fmt: skip
    columns = {
        "finder": text("finder"), "looks at": text("judge"), "profile": text("profile"), "models": text("models"),
        "mean AUROC": bold(number("auroc", 3), lambda r: r["auroc"] < 0.97), "worst": number("worst", 3),
        "mean precision at k": bold(number("precision", 2), lambda r: r["precision"] < 0.9),
        "worst ": number("least", 2), "s": number("seconds", 1),
    }  # fmt: skip
    return table(sorted(made, key=lambda r: -float(r["precision"])), columns)


def found_each(rows: Sequence[Row]) -> list[str]:
    """AUROC and precision at k of every finder on every attack, means over seeds."""
    made: list[dict[str, str]] = []
    names = list(dict.fromkeys(str(r["attack"]) for r in rows))
    for (finder, judge, profile), group in groups(rows, "finder", "judge", "profile").items():
        cells = {"finder": finder, "judge": judge, "profile": profile}
        for attack in names:
            mine = [r for r in group if r["attack"] == attack]
            if mine:
                a, p = mean(r["auroc"] for r in mine), mean(r["precision_at_k"] for r in mine)
                cells[attack] = f"{a:.3f} / {p:.2f}"
        made.append(cells)
    plain = {name: (lambda r, name=name: r.get(name, "-")) for name in names}
    return table(
        made, {"finder": text("finder"), "looks at": text("judge"), "profile": text("profile"), **plain}
    )


def means(rows: Sequence[Row]) -> list[Row]:
    """One row per method and setting: means over the models."""
    made: list[Row] = []
    for (method, setting), group in groups(rows, "method", "setting").items():
        values = {
            **{k: mean(rate(r, k) for r in group) for k in ("top1_before", "top1_after", "top10_after")},
            **{f"{w}_lost": mean(lost(r, w) for r in group) for w in ("zero_shot", "retrieval")},
            **{k: mean(rate(r, k) for r in group) for k in ("rebound_300", "rebound_1000")},
            **{k: mean(rate(r, k) for r in group) for k in ("top10_base", "top10_control")},
        }
        made.append({"method": method, "setting": setting, "models": len(group), **values,
                     "seconds": mean(r["clean_seconds"] for r in group)})  # fmt: skip
    return sorted(made, key=lambda r: (float(r["top1_after"]), float(r["rebound_300"])))


MEANS: Mapping[str, Cell] = {
    "cleaner": text("method"), "poison": text("setting"), "models": text("models"),
    "before %": percent("top1_before"), "top-1 %": percent("top1_after"), "top-10 %": percent("top10_after"),
    "base top-10 %": percent("top10_base"), "bare top-10 %": percent("top10_control"),
    "zero-shot lost": percent("zero_shot_lost"), "R@1 lost": percent("retrieval_lost"),
    "after 300 %": percent("rebound_300"), "after 1,000 %": percent("rebound_1000"), "s": number("seconds", 1),
}  # fmt: skip
EACH: Mapping[str, Cell] = {
    "attack": text("attack"), "seed": text("seed"), "on": text("device"), "cleaner": text("method"),
    "poison": text("setting"), "named": lambda r: f"{r['truly']} of {r['named']}" if "named" in r else "",
    "before %": share("top1_before"), "top-1 %": bold(share("top1_after"), lambda r: rate(r, "top1_after") > 0.03),
    "top-10 %": bold(share("top10_after"), lambda r: rate(r, "top10_after") > 0.10),
    "zero-shot %": share("zero_shot_before"), "after %": share("zero_shot_after"),
    "R@1 %": share("retrieval_before"), "after % ": share("retrieval_after"),
    "after 300 %": bold(share("rebound_300"), lambda r: rate(r, "rebound_300") > 0.10),
    "after 1,000 %": bold(share("rebound_1000"), lambda r: rate(r, "rebound_1000") > 0.10),
}  # fmt: skip


def cleaned(rows: Sequence[Row]) -> list[str]:
    """Means of every cleaner over the models that every cleaner of that machine was measured on."""
    lines: list[str] = []
    for (device,), own in groups(called(rows), "device").items():
        each = [{(r["attack"], r["seed"]) for r in g} for g in groups(own, "method", "setting").values()]
        common = set.intersection(*each)
        shown = means([r for r in own if (r["attack"], r["seed"]) in common])
        names = ", ".join(dict.fromkeys(a for a, _ in sorted(common)))
        lines += [f"On {device}, means over {len(common)} models ({names}):", "", *table(shown, MEANS), ""]
        done = {(str(r["method"]), str(r["setting"])) for r in own}
        if left := [f"{method} ({setting})" for method, setting in CLEANERS if (method, setting) not in done]:
            lines += [f"Not measured there, for the time ran out: {', '.join(left)}.", ""]
    return lines[:-1]


def cleaned_hard(rows: Sequence[Row]) -> list[str]:
    """Means on the optimised patch, and on the hard case."""
    lines: list[str] = []
    for attack in ("optimised-patch", "patch, in-modal"):
        for (device,), mine in groups([r for r in called(rows) if r["attack"] == attack], "device").items():
            lines += [f"On *{attack}*, {device}:", "", *table(means(mine), MEANS), ""]
    return lines[:-1]


def scanned(rows: Sequence[Row]) -> list[str]:
    """How well PL1 tells backdoored encoders from honest ones, and every value."""
    said = []
    for (profile,), mine in groups(rows, "profile").items():
        honest, bad = ([r["pl1"] for r in mine if r["kind"] == k] for k in ("honest", "backdoored"))
        told = metrics.auroc(-np.array([*bad, *honest]), np.array([True] * len(bad) + [False] * len(honest)))
        said.append(
            f"Profile {profile}: AUROC {told:.3f} over {len(bad)} backdoored and {len(honest)} honest encoders."
        )
    columns = {
        "model": lambda r: text("attack")(r) or "honest", "profile": text("profile"), "seed": text("seed"), "PL1": number("pl1", 4),
        "alike": number("alike", 3), "s": number("seconds", 1),
    }  # fmt: skip
    return ["\n\n".join(said), "", *table(sorted(rows, key=lambda r: float(r["pl1"])), columns)]


SIZE: Mapping[str, Cell] = {
    "cleaner": text("method"), "weights": text("weights"), "pictures": text("batch"),
    "s of one step": number("seconds", 1), "peak GB": bold(number("peak_gb", 1), lambda r: r["peak_gb"] >= 8),
    "commit": text("commit"),
}  # fmt: skip
PARTS: Sequence[tuple[str, str, Callable[[Sequence[Row]], list[str]]]] = (
    ("contrastive_clean.json", "Cleaners", cleaned),
    ("contrastive_clean.json", "Cleaners on what is hardest", cleaned_hard),
    ("contrastive_find.json", "Finders", found),
    ("contrastive_scan.json", "Encoders scanned without data", scanned),
    ("contrastive_base.json", "Models before any attack", bases),
    ("contrastive_attacks.json", "Attacks", attacks),
    ("contrastive_find.json", "Finders, attack by attack (AUROC / precision at k)", found_each),
    ("contrastive_clean.json", "Cleaners, model by model", lambda rows: table(called(rows), EACH)),
    (
        "contrastive_size.json",
        "One step on a CLIP of ViT-B/32's size, random weights",
        lambda r: table(r, SIZE),
    ),
)
