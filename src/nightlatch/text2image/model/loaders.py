"""Folders, files and pipeline objects in, subjects out: the only file that knows which pipeline class has
which adapter.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from nightlatch.errors import UnreadableModel
from nightlatch.intake.adapters.lora import OTHER_TARGET
from nightlatch.intake.gate import LORA_TARGET
from nightlatch.intake.single import TARGET as SINGLE_TARGET
from nightlatch.text2image.model.adapter import with_adapter
from nightlatch.text2image.model.lora import with_lora
from nightlatch.text2image.model.precision import Precision, computes_in, first_line, quiet
from nightlatch.text2image.model.single import from_single_file
from nightlatch.text2image.model.stable_diffusion import ROLES, StableDiffusion

SUPPORTED = ("StableDiffusionPipeline",)


def load(
    source: Path | str | DiffusionPipeline,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    configs: Path | None = None,
) -> StableDiffusion:
    """A subject from a private or own folder, or an in-memory pipeline (copied, so it is not changed).
    Weights are held in float32.

    Nothing is checked before it is read: folders of others go through ``loading.load``.

    Args:
        precision: what denoiser and decoder compute in; "auto" is bfloat16 where the device computes it
            natively.
        configs: a diffusers folder for what a staged single-file checkpoint lacks: configs and tokenizer.

    Raises:
        UnreadableModel: no such folder, not a pipeline, an unsupported class, or weights that do not load.
        NotScanned: a single-file checkpoint holds weights of a component that were not taken.
    """
    if isinstance(source, DiffusionPipeline):
        return _wrap(_copied(source), type(source).__name__, device, precision)
    folder = Path(source)
    if configs is not None:
        return _wrap(from_single_file(folder / SINGLE_TARGET, configs), folder.name, device, precision)
    class_name = pipeline_class(folder)
    if class_name not in SUPPORTED:
        raise UnreadableModel(
            f"{folder} holds a {class_name}, which is not supported.", f"Supported: {', '.join(SUPPORTED)}."
        )
    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                safety_checker=None,
                requires_safety_checker=False,
                torch_dtype=torch.float32,
                low_cpu_mem_usage=False,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise UnreadableModel(
            f"{folder} does not load: {first_line(e)}", "Run 'nightlatch check' on it for the reason."
        ) from e
    return _wrap(pipeline, folder.name, device, precision)


def _copied(source: DiffusionPipeline) -> DiffusionPipeline:
    """A pipeline with the same weights in float32, modules of its own and the same tokenizer, which nothing
    changes (its deep copy has lost its decoder); what only filters pictures is left out, as for a folder.

    Raises:
        UnreadableModel: an unsupported class.
    """
    name = type(source).__name__
    if name not in SUPPORTED:
        raise UnreadableModel(
            f"It is a {name}, which is not supported.", f"Supported: {', '.join(SUPPORTED)}."
        )
    made = copy.copy(source)
    for part in ROLES:
        setattr(made, part, copy.deepcopy(getattr(source, part)).to(torch.float32))
    for part in ("safety_checker", "image_encoder"):
        setattr(made, part, None)
    made.register_to_config(requires_safety_checker=False)
    return made


def load_staged(
    folder: Path, under: Path | None = None, *, device: str = "cpu", precision: Precision = "fp32"
) -> StableDiffusion:
    """A subject from a private folder: a pipeline, or an adapter or a single-file checkpoint with ``under``,
    the base's private folder.

    Raises:
        UnreadableModel, NotScanned, MissingPart: as ``load`` and ``with_lora`` do.
    """
    if under is not None and (folder / LORA_TARGET).is_file():
        return with_lora(load(under, device=device, precision=precision), folder / LORA_TARGET, "the LoRA")
    if under is not None and (folder / OTHER_TARGET).is_file():
        return with_adapter(
            load(under, device=device, precision=precision), folder / OTHER_TARGET, "the adapter"
        )
    return load(folder, device=device, precision=precision, configs=under)


def rehearse(folder: str, under: str = "") -> int:
    """``load_staged``, and one tiny step drawn with it: what a guarded child does first. Returns the number
    of weights.
    """
    subject = load_staged(Path(folder), Path(under) if under else None)
    with torch.no_grad():
        subject.decode(
            subject.denoise(subject.noise([0]), subject.schedule.at_share(1.0), subject.read(["a"]))
        )
    return sum(p.numel() for part in subject.parts.values() for p in part.module.parameters())


def pipeline_class(folder: Path) -> str:
    """The class that ``model_index.json`` names.

    Raises:
        UnreadableModel: the folder or the file is missing or not readable.
    """
    if not folder.is_dir():
        raise UnreadableModel(f"There is no folder {folder}.", "Give the path of a diffusers folder.")
    index = folder / "model_index.json"
    if not index.is_file():
        raise UnreadableModel(
            f"{folder} is not a diffusers pipeline: model_index.json is missing.",
            "Save it with save_pretrained.",
        )
    try:
        name = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise UnreadableModel(
            f"{index} names no pipeline class.", "Save the model with save_pretrained."
        ) from e
    return str(name)


def _wrap(pipeline: DiffusionPipeline, name: str, device: str, precision: Precision) -> StableDiffusion:
    """Move to the device, switch to evaluation, stop gradients."""
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    for part in ROLES:
        getattr(pipeline, part).eval().requires_grad_(False)
    return StableDiffusion(name, pipeline, torch.device(device), computes_in(precision, device))
