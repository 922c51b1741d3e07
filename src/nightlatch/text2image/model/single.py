"""A checkpoint in the original training code's layout made into a pipeline, and the proof that all its
weights are in it.

What this loader passes over, another may take.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors import safe_open

from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.intake.buffers import V_PREDICTION
from nightlatch.intake.single import PARTS, is_spare
from nightlatch.text2image.model.precision import first_line, quiet

_OWN = {"local_files_only": True, "use_safetensors": True, "torch_dtype": torch.float32}


def from_single_file(file: Path, configs: Path) -> StableDiffusionPipeline:
    """The pipeline of a checkpoint in the original training code's layout, with the configs and the tokenizer
    of the folder ``configs``, and with its autoencoder where the checkpoint has none.

    Raises:
        UnreadableModel: it does not fit the configs.
        NotScanned: it holds weights of a component that were not taken, or is marked as predicting something else than
            the base does.
    """
    remedy = "Name the model it was made from with --base."
    with safe_open(file, "pt") as opened:
        names = set(opened.keys())
    try:
        with quiet():
            lent = (
                {} if _has(names, "vae") else {"vae": AutoencoderKL.from_pretrained(configs / "vae", **_OWN)}
            )
            pipeline = StableDiffusionPipeline.from_single_file(
                str(file),
                config=str(configs),
                local_files_only=True,
                torch_dtype=torch.float32,
                safety_checker=None,
                **lent,
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
    predicts = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if V_PREDICTION in names and predicts != "v_prediction":
        sentence = f"Its mark '{V_PREDICTION}' makes some programs read its predictions as v, and this base predicts {predicts}."
        raise NotScanned(sentence, "Name a v-prediction model with --base.")
    return pipeline


def _has(names: Iterable[str], part: str) -> bool:
    return any(name.startswith(PARTS[part]) for name in names)


def require_all(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Every component must hold as many numbers as the file has for it; each of its tensors was filled
    before.

    Raises:
        NotScanned: the file has more.
    """
    with safe_open(file, "pt") as opened:
        sizes = {name: prod(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    for part, prefix in PARTS.items():
        if not _has(sizes, part):
            continue  # lent by the base
        there = sum(size for name, size in sizes.items() if name.startswith(prefix) and not is_spare(name))
        state = getattr(pipeline, part).state_dict()
        taken = sum(tensor.numel() for name, tensor in state.items() if not name.endswith("position_ids"))
        if there > taken:
            raise NotScanned(
                f"The checkpoint's {part} holds {there - taken:,} numbers that were not loaded here and that "
                "others may load.",
                "Name the model it was made from with --base, or scan a diffusers folder of it.",
            )
