"""Which cells the removal experiment has, most valuable first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightlatch.bench import removal
from nightlatch.bench.removal_tasks import Removal
from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.blind import Search

WRONG_ON: Sequence[str] = ("object", "edit-8", "prompt")
"""Suspects that are also repaired from a wrong trigger."""
TINY: dict[str, Any] = {
    "steps": 2,
    "batch": 8,
    "prompts": 6,
    "rounds": 1,
    "drawings": 4,
    "search": Search(sweep=256, strings=1, steps=2, prompts=2, random=2),
}
"""Parameters of repairs that only walk through."""


def cells(tiny: bool = False) -> list[Removal]:
    """All cells, most valuable first; each needs those of its suspect that stand before it."""

    def repair(model: str, what: str, method: str, given: Mapping[str, Any]) -> Removal:
        small = TINY if tiny else {}
        known = {f for f in small if f in METHODS.find(method).__dataclass_fields__}
        return Removal(model, what, method, {**given, **{k: small[k] for k in known}}, tiny)

    def default(model: str) -> Removal:
        return repair(model, removal.DEFAULT, removal.USUAL, {})

    made = [
        cell
        for m in removal.FIRST
        for cell in (Removal(m, "made", tiny=tiny), Removal(m, "scanned", tiny=tiny), default(m))
    ]
    rivals = {m: [repair(m, k, *v) for k, v in removal.RIVALS.items()] for m in removal.COMPARED}
    blind = {m: repair(m, removal.BLIND, "blind", {}) for m in removal.COMPARED}
    others = [Removal(m, removal.BY_BASE, tiny=tiny) for m in removal.FIRST]
    for i, m in enumerate(removal.COMPARED):
        others += [blind[m], Removal(m, "control", tiny=tiny), *rivals[m]]
        for ablated in removal.ABLATED[i : i + 1]:
            others += [repair(ablated, f"ablation: {k}", "sau", v) for k, v in removal.ABLATIONS.items()]
        if i < len(WRONG_ON):
            others.append(repair(WRONG_ON[i], removal.WRONG, removal.USUAL, {}))
    again = [Removal(m, "again", tiny=tiny) for m in removal.COMPARED]  # each default ended with a cheap one
    honest = [repair(m, removal.HONEST, "blind", {}) for m in (removal.BASE, "style fine-tune")]
    return [*made, honest[0], *others, honest[1], *again]
