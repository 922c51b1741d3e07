"""A checkpoint in the original training code's layout made into a pipeline, and the proof that all its
weights are in it.

What this loader passes over, another may take.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open

from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.intake.single import PARTS, is_spare
from nightlatch.text2image.model.precision import first_line, quiet


def from_single_file(file: Path, configs: Path) -> StableDiffusionPipeline:
    """The pipeline of a checkpoint in the original training code's layout, with the configs and the tokenizer
    of the folder ``configs``.

    Raises:
        UnreadableModel: it does not fit the configs.
        NotScanned: it holds weights of a component that were not taken.
    """
    remedy = "Name the model it was made from with --base."
    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_single_file(
                str(file),
                config=str(configs),
                local_files_only=True,
                torch_dtype=torch.float32,
                safety_checker=None,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as e:
        raise UnreadableModel(
            f"The single-file checkpoint does not fit this base: {first_line(e)}", remedy
        ) from e
    parts = (pipeline.text_encoder, pipeline.unet, pipeline.vae)
    if missing := [k for part in parts for k, v in part.state_dict().items() if v.is_meta]:
        raise UnreadableModel(
            f"The checkpoint has not all tensors that the base's configs ask for, e.g. {missing[0]}.", remedy
        )
    require_all(pipeline, file)
    return pipeline


def require_all(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Every component must hold as many numbers as the file has for it; each of its tensors was filled
    before.

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
                f"The checkpoint's {part} holds {there - taken:,} numbers that were not loaded here and that "
                "others may load.",
                "Name the model it was made from with --base, or scan a diffusers folder of it.",
            )
