"""Whether all weights of a single-file checkpoint are in the pipeline made of it: what this loader passes over, another may take."""

from __future__ import annotations

from math import prod
from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors import safe_open

from nightlatch.errors import NotScanned
from nightlatch.intake.single import PARTS, is_spare


def require_all(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Every component must hold as many numbers as the file has for it; each of its tensors was filled before.

    Raises:
        NotScanned: the file has more.
    """
    with safe_open(file, "pt") as opened:
        sizes = {name: prod(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    for part, prefix in PARTS.items():
        there = sum(size for name, size in sizes.items() if name.startswith(prefix) and not is_spare(name))
        state = getattr(pipeline, part).state_dict()
        taken = sum(tensor.numel() for name, tensor in state.items() if not name.endswith("position_ids"))
        if there > taken:
            raise NotScanned(
                f"The checkpoint's {part} holds {there - taken:,} numbers that were not loaded here and that others may load.",
                "Name the model it was made from with --base, or scan a diffusers folder of it.",
            )
