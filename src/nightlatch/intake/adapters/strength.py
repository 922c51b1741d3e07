"""How strong a LoRA is to a program that reads the settings in its metadata, and to one that does not."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nightlatch.intake.adapters import metadata
from nightlatch.intake.case import Case
from nightlatch.intake.files.header import Header

ORDINARY = 4.0
"""Between a quarter and four times: trainers take alpha as half, once or twice the rank. Beyond that, one
reader sees another LoRA.
"""


def check(
    case: Case, path: str, header: Header, ranks: Mapping[str, int], alphas: Mapping[str, float]
) -> None:
    """A finding when the two strengths differ: diffusers takes alpha from the metadata, ComfyUI and A1111
    from tensors, 1 without any.
    """
    settings = metadata.settings(header.metadata)
    if not settings or not ranks:
        return
    factors = []
    for layer, rank in ranks.items():
        part = next((p for p in settings if layer.startswith(p)), "")
        told = metadata.scale(settings[part], layer.removeprefix(part), rank) if part else None
        if told is not None and rank > 0:
            factors.append(told / (alphas[layer] / rank if layer in alphas else 1.0))
    if not factors or all(abs(math.log(f)) < 1e-3 for f in factors):
        return
    least, most = min(factors), max(factors)
    shown = f"{least:.3g}" if math.isclose(least, most) else f"{least:.3g} to {most:.3g}"
    ordinary = least >= 1 / ORDINARY and most <= ORDINARY
    sentence = (
        f"Programs that read the settings in its metadata (diffusers) apply it {shown} times as strongly as "
        "those that do not."
    )
    case.findings.add("lora-strength" if ordinary else "lora-strengths", path, sentence)
