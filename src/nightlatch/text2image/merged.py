"""Whether a LoRA is really in the weights it was merged into: a file that lands nowhere must not be judged as if it had been tried."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from nightlatch.errors import NotScanned
from nightlatch.intake.adapters import lora
from nightlatch.text2image.subject import Subject

TOO_LITTLE = 2e-3
"""Relative change of the weights below which a LoRA may be lost in rounding."""
Place = tuple[str, str]
"""Component and module."""
_REMEDY = "Name the model it was made for with --base, and load it nowhere at another strength."


def places(subject: Subject) -> list[Place]:
    """The modules of ``subject`` that hold a LoRA pair at the moment."""
    from peft.tuners.lora import LoraLayer

    parts = {"unet": subject.unet, "text_encoder": subject.text_encoder}
    return [(part, name) for part, model in parts.items() for name, m in model.named_modules() if isinstance(m, LoraLayer)]


def require(base: Subject, made: Subject, file: Path, landed: list[Place], name: str) -> None:
    """Every pair of ``file`` must have landed on one module of ``made`` and, unless one of its halves is zero, have changed its weights.

    Raises:
        NotScanned: a pair landed nowhere, changed nothing, gave a number that is not finite, or all together change too little.
    """
    halves = _halves(file)
    if len(landed) != len(halves):
        sentence = f"Of the {len(halves)} layer pairs of {name} {len(landed)} land on this base, so it cannot be judged."
        raise NotScanned(sentence, _REMEDY)
    changes = [_change(base, made, place) for place in landed]
    if not all(c < float("inf") for c in changes):
        raise NotScanned(f"{name} makes weights that are not finite numbers.", "Do not load it anywhere.")
    changed, active = sum(c > 0 for c in changes), sum(halves)
    if changed < active:
        raise NotScanned(f"{active - changed} layer pairs of {name} change no weight, so it cannot be judged.", _REMEDY)
    if max(changes, default=0.0) <= TOO_LITTLE:
        raise NotScanned(f"{name} changes the base too little at strength 1 to be judged.", _REMEDY)


def _halves(file: Path) -> list[bool]:
    """For every pair of the file: whether both halves hold something else than zeros."""
    with safe_open(file, "pt") as opened:
        pairs = lora.pairs(opened.keys()).values()
        return [all(bool(opened.get_tensor(half).any()) for half in pair) for pair in pairs]


@torch.no_grad()
def _change(base: Subject, made: Subject, place: Place) -> float:
    """||dW|| / ||W|| of one module."""
    before, after = (_weight(s, place) for s in (base, made))
    return float((after - before).float().norm()) / (float(before.float().norm()) or 1.0)


def _weight(subject: Subject, place: Place) -> torch.Tensor:
    weight: torch.Tensor = subject.components[place[0]].get_parameter(f"{place[1]}.weight")
    return weight
