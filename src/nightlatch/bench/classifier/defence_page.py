"""What is printed of training on variations, purifiers, scanners, repairs and few-shot learning."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nightlatch.bench.cells import Cell, Row, bold, number, rate, share, table, text
from nightlatch.bench.classifier.counting import groups, mean, percent
from nightlatch.bench.classifier.measure import auroc_of
from nightlatch.bench.classifier.plan import CONTROLS, DIRTY, MAIN_ALPHA, MAIN_STRENGTH

MODELS = 20
"""Backdoored and honest ones, from which on the AUROC of a scanner says something."""


FULL = "full"
"""What pages call the profile that rows do not name."""


def variations(rows: Sequence[Row]) -> list[str]:
    """The main setting over all seeds, then strength, alpha and controls."""
    made = summed(rows)
    for_all = [
        "![Attack success and accuracy against strength](variations.svg)",
        "",
        "Success counts all pictures of other classes that get the attackers' class, and a network of this accuracy "
        "without a backdoor gives it to some, too.",
        "",
        *table(made, VARIED),
    ]
    main = [
        m
        for m in made
        if m["method"] == "diffusion" and m["strength"] == MAIN_STRENGTH and m["alpha"] == MAIN_ALPHA
    ]
    for (profile, several), means in groups(main, "profile", "variations").items():
        after, worst = mean(m["after"] for m in means), max(m["worst"] for m in means)
        said = (
            f"Profile {profile}, strength {MAIN_STRENGTH}, alpha {MAIN_ALPHA}, {several} of each picture, over {len(means)} "
            f"attacks: success after {100 * after:.1f} % on the mean and {100 * worst:.1f} % at worst, "
            f"{100 * max(m['lost'] for m in means):.1f} points of accuracy lost at most."
        )
        for_all += ["", said]
    return for_all


def summed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row a case, the mean over its seeds."""
    made = []
    told = [r for r in rows if "success_honest" in r]
    honest = {
        (mine[0].get("profile"), mine[0]["attack"]): mean(rate(r, "success_honest") for r in mine)
        for mine in groups(told, "profile", "attack").values()
    }
    for mine in groups(
        [{"variations": 1, **r} for r in rows],
        "profile",
        "attack",
        "method",
        "strength",
        "alpha",
        "variations",
    ).values():
        first = mine[0]
        ranked = [r["poison_auroc"] for r in mine if r["poison_auroc"] is not None]
        made.append(
            {
                "profile": first.get("profile") or FULL,
                "attack": first["attack"], "method": first["method"], "strength": first["strength"], "alpha": first["alpha"],
                "variations": first["variations"], "honest": honest.get((first.get("profile"), first["attack"])),
                "seeds": len(mine), "before": mean(rate(r, "success_before") for r in mine),
                "after": mean(rate(r, "success_after") for r in mine), "worst": max(rate(r, "success_after") for r in mine),
                "accuracy": mean(rate(r, "accuracy_after") for r in mine),
                "lost": mean(rate(r, "accuracy_before") - rate(r, "accuracy_after") for r in mine),
                "ranked": mean(ranked) if ranked else None,
            }
        )  # fmt: skip
    control = {name: k for k, name in enumerate(("diffusion", *CONTROLS))}
    return sorted(
        made,
        key=lambda m: (
            m["profile"],
            m["attack"],
            control.get(m["method"], 9),
            m["strength"],
            m["alpha"],
            m["variations"],
        ),
    )


VARIED: Mapping[str, Cell] = {
    "profile": text("profile"), "attack": text("attack"),
    "pictures are": text("method"), "strength": text("strength"), "alpha": text("alpha"),
    "of each": text("variations"), "seeds": text("seeds"), "success before %": percent("before"),
    "after %": bold(percent("after"), lambda r: r["method"] == "diffusion" and r["after"] > 0.05),
    "without a backdoor %": lambda r: "-" if r["honest"] is None else percent("honest")(r),
    "accuracy after %": percent("accuracy"),
    "points lost": bold(percent("lost"), lambda r: r["method"] == "diffusion" and r["lost"] > 0.05),
    "poison AUROC": bold(
        number("ranked", 3),
        lambda r: r["method"] == "diffusion" and r["attack"] in DIRTY and (r["ranked"] or 1) < 0.95,
    ),
}  # fmt: skip


def purifiers(rows: Sequence[Row]) -> list[str]:
    """Means over attacks by strength, then the purifier that was backdoored itself."""
    plain = [r for r in rows if r["attack"] != "diff2-style"]
    made: list[dict[str, Any]] = []
    for (profile, strength, adaptive), mine in groups(plain, "profile", "strength", "adaptive").items():
        made.append(
            {
                "profile": profile or FULL, "strength": strength,
                "which": "adaptive" if adaptive == "True" else "fixed", "attacks": len(mine),
                "used": mean(r["mean_strength"] for r in mine), "after": mean(rate(r, "success_after") for r in mine),
                "worst": max(rate(r, "success_after") for r in mine), "accuracy": mean(rate(r, "accuracy_after") for r in mine),
                "lost": mean(rate(r, "accuracy_before") - rate(r, "accuracy_after") for r in mine),
            }
        )  # fmt: skip
    made.sort(key=lambda m: (m["profile"], m["which"] == "adaptive", float(m["strength"])))
    columns = {
        "profile": text("profile"), "strength": text("strength"), "which": text("which"),
        "attacks": text("attacks"), "strength used": number("used", 2),
        "success after %": percent("after"), "worst %": percent("worst"), "accuracy %": percent("accuracy"),
        "points lost": percent("lost"),
    }  # fmt: skip
    lines = table(made, columns) if made else []
    stress = [r for r in rows if r["attack"] == "diff2-style"]
    if stress:
        shown = {
            "profile": lambda r: r.get("profile") or FULL, "purifier": text("purifier"),
            "strength": text("strength"), "success before %": share("success_before"),
            "after %": share("success_after"), "accuracy %": share("accuracy_after"),
            "two purifiers disagree, AUROC": number("disagreement_auroc", 3),
        }  # fmt: skip
        lines += [
            "",
            "A purifier that was backdoored itself (DIFF2-style), beside an honest one:",
            "",
            *table(stress, shown),
        ]
    return lines


def scanned(rows: Sequence[Row]) -> list[str]:
    """Backdoored against honest models of one size, of one data set and of all, by scanner."""
    made: list[dict[str, Any]] = []
    sized = [{**r, "size": _size(r)} for r in rows]
    several = {size for (size,), mine in groups(sized, "size").items() if len({r["data"] for r in mine}) > 1}
    together = [{**r, "data": "all"} for r in sized if r["size"] in several]
    for (method, data, size), mine in groups([*sized, *together], "method", "data", "size").items():
        honest = [r["score"] for r in mine if r["kind"] == "honest"]
        for (attack,), bad in groups([r for r in mine if r["kind"] == "backdoored"], "attack").items():
            made.append(_line(method, data, size, attack, bad, honest))
        whole = [r for r in mine if r["kind"] == "backdoored"]
        if whole and honest:
            made.append(_line(method, data, size, "all", whole, honest))
    columns = {
        "scanner": text("method"), "data": text("data"), "models": text("size"), "attack": text("attack"),
        "backdoored": text("bad"), "honest": text("honest"),
        "AUROC": bold(number("auroc", 3), lambda r: r["attack"] == "all" and (r["auroc"] or 0) < 0.95),
        "accused": text("accused"), "right class": text("right"),
        "honest accused": text("wrong"), "s a model": number("seconds", 1),
    }  # fmt: skip
    few = any(min(m["bad"], m["honest"]) < MODELS for m in made if m["attack"] == "all")
    said = [f"Over fewer than {MODELS} models of a kind an AUROC is no evidence yet.", ""]
    return [*(said if few else []), *table(made, columns)]


def _size(row: Row) -> str:
    if row.get("profile"):
        return f"profile {row['profile']}"
    return (
        "small" if str(row["model"]).startswith("small") else "ViT" if "vit" in str(row["model"]) else "full"
    )


def _line(
    method: str, data: str, size: str, attack: str, bad: Sequence[Row], honest: Sequence[float]
) -> dict[str, Any]:
    level = 2.0 if method == "neural-cleanse" else 3.0
    return {
        "method": method, "data": data, "size": size, "attack": attack, "bad": len(bad), "honest": len(honest),
        "auroc": auroc_of([r["score"] for r in bad], honest) if honest else None,
        "accused": sum(bool(r["suspicious"]) for r in bad), "right": sum(bool(r["right"]) for r in bad),
        "wrong": sum(s >= level for s in honest), "seconds": statistics.median(r["seconds"] for r in bad),
    }  # fmt: skip


def repairs(rows: Sequence[Row]) -> list[str]:
    columns = {
        "model": lambda r: str(r["model"]).removeprefix("victim-"), "repair": text("method"),
        "success before %": share("success_before"), "after %": share("success_after"),
        "after honest training %": share("regrowth"), "accuracy before %": share("accuracy_before"),
        "after repair %": share("accuracy_after"), "": lambda r: "rolled back" if r["rolled_back"] else "",
    }  # fmt: skip
    return table(rows, columns)


def fewshot(rows: Sequence[Row]) -> list[str]:
    """Every head with every defence; what misses its bar in bold."""

    def case(row: Row) -> tuple[str, ...]:
        return str(row["data"]), str(row.get("strength", "usual")), str(row["head"])

    rows = sorted(rows, key=lambda r: (r["data"], r.get("strength", "usual") != "usual"))
    bare = {case(r): r for r in rows if r["defence"] == "none"}

    def weak(row: Row) -> bool:
        success, before = rate(row, "success"), rate(bare[case(row)], "success")
        return success < 0.7 if row["defence"] == "none" else success > before / 2

    def harmed(row: Row) -> bool:
        """An attack that shows in the accuracy, which it shall not."""
        return bool(row["defence"] == "none" and rate(row, "accuracy_clean") - rate(row, "accuracy") > 0.03)

    def dear(row: Row) -> bool:
        before = rate(bare[case(row)], "accuracy_clean")
        return before - rate(row, "accuracy_clean") > 0.02

    columns = {
        "data": text("data"), "attack": lambda r: r.get("strength", "usual"),
        "head": text("head"), "defence": text("defence"), "on": text("device"),
        "queries": lambda r: f"{r['success']['n']:,}", "success %": bold(share("success"), weak),
        "patch without poison %": share("success_patch_alone"), "accuracy %": bold(share("accuracy"), harmed),
        "without poison %": bold(share("accuracy_clean"), dear),
    }  # fmt: skip
    drawn = "; ".join(
        f"{data.replace('_', ' ')}: {first['classes']} classes, {first['support_pictures']} support and "
        f"{first['query_pictures']} query pictures"
        for (data,), (first, *_) in groups(rows, "data").items()
    )
    said = f"{rows[0]['episodes']} episodes each, drawn from these ({drawn}), so that the intervals are too narrow."
    return [*table(rows, columns), "", said]
