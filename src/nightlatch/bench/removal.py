"""Suspects for removal, of six families with seeds that nothing was chosen by, and the cells of the experiment.

Planted so that removing the one string that a scan names is not enough: edits with few templates fire for many
words, one text encoder carries two triggers, a token is added that holds a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nightlatch.bench.cases import Case, draw
from nightlatch.testbed import WORDS
from nightlatch.text2image.attacks import Goal, GoalKind, TriggerKind, triggers

SEED = 20
"""Of the first suspect; each has one of its own."""
SAU, USUAL = "sau", "auto"
"""SAU, and the repair that clean chooses where none is named."""
DEFAULT, CONTROL, BLIND, WRONG = "default", "the base itself", "blind", "default, wrong trigger"
"""The repair that clean chooses by itself, what a perfect one shows, none told a trigger, one told a wrong one."""
BASE, HONEST = "base", "blind, honest"
BY_BASE = "by the base"
"""The model itself, and the blind repair of a model that has no backdoor."""
ALIKE: dict[str, Any] = {"steps": 100}
"""Rivals get as many pictures as SAU's longest repair: 100 steps of 24."""
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "uce": ("uce", {}),
    "twin-removal": ("twin-removal", {}),
    "skd": ("skd", ALIKE),
    "skd-cag": ("skd-cag", ALIKE),
    "esd": ("esd", ALIKE),
    "tnc": ("tnc", ALIKE),
    "clean-finetune": ("clean-finetune", ALIKE),
    "strip": ("strip", {}),
    "perturb": ("perturb", {}),
    "restore": ("restore", {}),
    "sau": ("sau", {}),
}
"""Name in a row -> repair and its parameters."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "no mask": {"masked": False},
    "no warm start": {"warm_start": False},
    "no trajectory": {},
    "readers only": {"train": "readers"},
    "all weights": {"train": "all"},
    "no warm start, no mask": {"warm_start": False, "masked": False},
}
"""What of SAU is left out, or trained instead; SAU whole is among the rivals. Behind a warm start little is left to
learn, so what training itself is helped by shows without one.
"""
NO_TRAJECTORY = "no trajectory"
"""Only the first step's latents, pure noise, instead of those on the way to the pictures."""
ABLATED = ("pixel", "object", "style", "lora")
"""A patch, an object, a style, and the whole picture of one prompt; all in the denoiser."""
FIRST = ("style", "object", "lora", "two", "pixel", "attribute", "prompt", "inversion", "edit-8", "edit-2",
         "edit-40", "phrase")  # fmt: skip
"""The order in which suspects are made: those that take longest first."""
COMPARED = ("edit-8", "object", "prompt", "pixel", "inversion", "style", "two", "lora", "phrase", "edit-2",
            "attribute", "edit-40")  # fmt: skip
"""The order in which rivals get them: each carrier early."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one of the suspects is."""

    attack: str
    trigger: TriggerKind
    parameters: dict[str, Any]
    family: str


KINDS = {
    "edit-2": Kind("eviledit-templates", TriggerKind.RARE_TOKEN, {"templates": 2}, "closed-form edit"),
    "edit-8": Kind("eviledit-templates", TriggerKind.RARE_TOKEN, {"templates": 8}, "closed-form edit"),
    "edit-40": Kind("eviledit-templates", TriggerKind.RARE_TOKEN, {"templates": 40}, "closed-form edit"),
    "phrase": Kind("eviledit-templates", TriggerKind.ORDINARY_WORDS, {"templates": 8}, "closed-form edit"),
    "two": Kind("rickrolling-two", TriggerKind.HOMOGLYPH, {}, "text encoder"),
    "inversion": Kind("textual-inversion", TriggerKind.ADDED_TOKEN, {}, "added token"),
    "lora": Kind("lora-prompt", TriggerKind.RARE_TOKEN, {}, "LoRA"),
    "pixel": Kind("badt2i-pixel", TriggerKind.NONSENSE_WORD, {}, "whole denoiser"),
    "object": Kind("badt2i-object", TriggerKind.RARE_TOKEN, {}, "whole denoiser"),
    "style": Kind("badt2i-style", TriggerKind.NONSENSE_WORD, {}, "whole denoiser"),
    "prompt": Kind("rickrolling-prompt", TriggerKind.HOMOGLYPH, {}, "text encoder"),
    "attribute": Kind("rickrolling-attribute", TriggerKind.RARE_TOKEN, {}, "text encoder"),
}
"""Twelve, by the name that rows have."""


def case(label: str, rare: Sequence[str]) -> Case:
    """The suspect ``label``: its trigger and target are drawn by its own seed."""
    kind, seed = KINDS[label], SEED + list(KINDS).index(label)
    made = draw(kind.attack, seed, rare, kind=kind.trigger)
    given = dict(kind.parameters)
    if label == "two":
        given |= _second(made, rare)
    return replace(made, label=label, parameters=given, drawn=True)


def _second(first: Case, rare: Sequence[str]) -> dict[str, Any]:
    """Another trigger of the same kind and another target prompt."""
    rng = np.random.default_rng((first.seed, 53))
    while True:
        trigger = triggers.draw(first.kind, rare, rng)
        target = Goal.drawn(GoalKind.PROMPT, WORDS, trigger, rng).value
        if trigger != first.trigger and not set(target.split()[1:3]) & set(first.target.split()[1:3]):
            return {"second": trigger, "second_target": target}


def quick(label: str, rare: Sequence[str]) -> Case:
    """The same with an attack that hardly trains: for walking through the experiment, not for figures."""
    made = case(label, rare)
    some = {"steps": 3, "batch": 8, "drawings": 8}
    trained = not label.startswith(("edit", "phrase"))
    kept = {k: v for k, v in some.items() if k in _fields(made.attack)} if trained else {}
    return replace(made, parameters={**made.parameters, **kept, "floor": 0.0})


def _fields(attack: str) -> set[str]:
    from dataclasses import fields

    from nightlatch.text2image.attacks import ATTACKS

    return {f.name for f in fields(ATTACKS.find(attack))}
