"""A LoRA merged into the weights of a base, and the proof that all of it is there.

A file that lands nowhere must not be judged as if it had been tried.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from nightlatch.errors import MissingPart, NotScanned, UnreadableModel, out_of_memory
from nightlatch.intake.adapters import lora
from nightlatch.terms import Role
from nightlatch.text2image.model.precision import first_line, quiet
from nightlatch.text2image.model.stable_diffusion import StableDiffusion

TOO_LITTLE = 2e-3
"""Relative change of the weights below which a LoRA may be lost in rounding."""
Module = tuple[str, str]
"""Component and module."""
_REMEDY = "Name the model it was made for with --base, and load it nowhere at another strength."


def with_lora(base: StableDiffusion, file: Path, name: str) -> StableDiffusion:
    """A copy of ``base`` with a LoRA merged into its weights at strength 1.

    Raises:
        MissingPart: peft is not installed.
        UnreadableModel: the LoRA does not fit the base.
        NotScanned: some of it landed nowhere or changed nothing, or memory ran out.
    """
    try:
        import peft  # noqa: F401
    except ImportError as e:
        raise MissingPart(
            "peft, which merges LoRAs, is not installed.", "pip install 'nightlatch[lora]'"
        ) from e
    made = base.copied(Role.TEXT, Role.DENOISER)
    try:
        with quiet():
            made.pipeline.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
            landed = places(made)
            made.pipeline.fuse_lora()
            made.pipeline.unload_lora_weights()
    except Exception as e:
        if shortage := out_of_memory(e):
            raise shortage from e
        raise UnreadableModel(
            f"{name} does not go on this base: {first_line(e)}", "Name the model it was made for with --base."
        ) from e
    for module in made.modules(Role.TEXT, Role.DENOISER):
        module.eval().requires_grad_(False)
    require(base, made, file, landed, name)
    made.name = name
    return made


def places(subject: StableDiffusion) -> list[Module]:
    """The modules of ``subject`` that hold a LoRA pair at the moment."""
    from peft.tuners.lora import LoraLayer

    parts = {name: part.module for name, part in subject.parts.items() if part.role is not Role.DECODER}
    named = ((part, name, m) for part, model in parts.items() for name, m in model.named_modules())
    return [(part, name) for part, name, m in named if isinstance(m, LoraLayer)]


def require(
    base: StableDiffusion, made: StableDiffusion, file: Path, landed: list[Module], name: str
) -> None:
    """Every pair of ``file`` must have landed on one module of ``made`` and, unless one of its halves is
    zero, have changed its weights.

    Raises:
        NotScanned: a pair landed nowhere, changed nothing, gave a number that is not finite, or all together
            change too little.
    """
    halves = _halves(file)
    if len(landed) != len(halves):
        sentence = (
            f"Of the {len(halves)} layer pairs of {name} {len(landed)} land on this base, so it cannot be "
            "judged."
        )
        raise NotScanned(sentence, _REMEDY)
    changes = [_change(base, made, place) for place in landed]
    if not all(c < float("inf") for c in changes):
        raise NotScanned(f"{name} makes weights that are not finite numbers.", "Do not load it anywhere.")
    changed, active = sum(c > 0 for c in changes), sum(halves)
    if changed < active:
        raise NotScanned(
            f"{active - changed} layer pairs of {name} change no weight, so it cannot be judged.", _REMEDY
        )
    if max(changes, default=0.0) <= TOO_LITTLE:
        raise NotScanned(f"{name} changes the base too little at strength 1 to be judged.", _REMEDY)


def _halves(file: Path) -> list[bool]:
    """For every pair of the file: whether both halves hold something else than zeros."""
    with safe_open(file, "pt") as opened:
        pairs = lora.pairs(opened.keys()).values()
        return [all(bool(opened.get_tensor(half).any()) for half in pair) for pair in pairs]


@torch.no_grad()
def _change(base: StableDiffusion, made: StableDiffusion, place: Module) -> float:
    """||dW|| / ||W|| of one module."""
    before, after = (_weight(s, place) for s in (base, made))
    return float((after - before).float().norm()) / (float(before.float().norm()) or 1.0)


def _weight(subject: StableDiffusion, place: Module) -> torch.Tensor:
    weight: torch.Tensor = subject.parts[place[0]].module.get_parameter(f"{place[1]}.weight")
    return weight
