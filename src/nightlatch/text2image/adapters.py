"""The only file that knows diffusers' pipeline classes: folders and pipeline objects in, subjects out."""

from __future__ import annotations

import copy
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from nightlatch.errors import MissingPart, NotWritten, UnreadableModel, UsageError, out_of_memory
from nightlatch.intake.gate import LORA_TARGET
from nightlatch.intake.single import TARGET as SINGLE_TARGET
from nightlatch.text2image import consumed, merged
from nightlatch.text2image.subject import Subject

SUPPORTED = ("StableDiffusionPipeline",)
Precision = Literal["auto", "fp32", "bf16"]


def load(
    source: Path | str | DiffusionPipeline, *, device: str = "cpu", precision: Precision = "fp32", configs: Path | None = None
) -> Subject:
    """A subject from a private or own folder, or an in-memory pipeline (copied, so it is not changed). Weights are held in float32.

    Nothing is checked before it is read: folders of others go through ``loading.load``.

    Args:
        precision: what denoiser and decoder compute in; "auto" is bfloat16 where the device computes it natively.
        configs: a diffusers folder for what a staged single-file checkpoint lacks: configs and tokenizer.

    Raises:
        UnreadableModel: no such folder, not a pipeline, an unsupported class, or weights that do not load.
        NotScanned: a single-file checkpoint holds weights of a component that were not taken.
    """
    if isinstance(source, DiffusionPipeline):
        return _wrap(_copied(source), type(source).__name__, device, precision)
    folder = Path(source)
    if configs is not None:
        return _wrap(_from_single_file(folder / SINGLE_TARGET, configs), folder.name, device, precision)
    class_name = pipeline_class(folder)
    if class_name not in SUPPORTED:
        raise UnreadableModel(f"{folder} holds a {class_name}, which is not supported.", f"Supported: {', '.join(SUPPORTED)}.")
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
        raise UnreadableModel(f"{folder} does not load: {_first_line(e)}", "Run 'nightlatch check' on it for the reason.") from e
    return _wrap(pipeline, folder.name, device, precision)


def _copied(source: DiffusionPipeline) -> DiffusionPipeline:
    """A pipeline with the same weights in float32, modules of its own and the same tokenizer, which nothing changes (its deep copy has lost its
    decoder); what only filters pictures is left out, as for a folder.

    Raises:
        UnreadableModel: an unsupported class.
    """
    name = type(source).__name__
    if name not in SUPPORTED:
        raise UnreadableModel(f"It is a {name}, which is not supported.", f"Supported: {', '.join(SUPPORTED)}.")
    made = copy.copy(source)
    for part in ("text_encoder", "unet", "vae"):
        setattr(made, part, copy.deepcopy(getattr(source, part)).to(torch.float32))
    for part in ("safety_checker", "image_encoder"):
        setattr(made, part, None)
    made.register_to_config(requires_safety_checker=False)
    return made


def with_lora(base: Subject, file: Path, name: str) -> Subject:
    """A copy of ``base`` with a LoRA merged into its weights at strength 1.

    Raises:
        MissingPart: peft is not installed.
        UnreadableModel: the LoRA does not fit the base.
        NotScanned: some of it landed nowhere or changed nothing, or memory ran out.
    """
    try:
        import peft  # noqa: F401
    except ImportError as e:
        raise MissingPart("peft, which merges LoRAs, is not installed.", "pip install 'nightlatch[lora]'") from e
    made = base.copy("text_encoder", "unet")
    try:
        with quiet():
            made.pipeline.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
            landed = merged.places(made)
            made.pipeline.fuse_lora()
            made.pipeline.unload_lora_weights()
    except Exception as e:
        if shortage := out_of_memory(e):
            raise shortage from e
        raise UnreadableModel(
            f"{name} does not go on this base: {_first_line(e)}", "Name the model it was made for with --base."
        ) from e
    for part in (made.unet, made.text_encoder):
        part.eval().requires_grad_(False)
    merged.require(base, made, file, landed, name)
    made.name = name
    return made


def _from_single_file(file: Path, configs: Path) -> StableDiffusionPipeline:
    """The pipeline of a checkpoint in the original training code's layout, with the configs and the tokenizer of the folder ``configs``.

    Raises:
        UnreadableModel: it does not fit the configs.
        NotScanned: it holds weights of a component that were not taken.
    """
    remedy = "Name the model it was made from with --base."
    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_single_file(
                str(file), config=str(configs), local_files_only=True, torch_dtype=torch.float32, safety_checker=None
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as e:
        raise UnreadableModel(f"The single-file checkpoint does not fit this base: {_first_line(e)}", remedy) from e
    parts = (pipeline.text_encoder, pipeline.unet, pipeline.vae)
    if missing := [k for part in parts for k, v in part.state_dict().items() if v.is_meta]:
        raise UnreadableModel(f"The checkpoint has not all tensors that the base's configs ask for, e.g. {missing[0]}.", remedy)
    consumed.require_all(pipeline, file)
    return pipeline


def _first_line(e: Exception) -> str:
    """What a library's error says, in one line; its type when it says nothing."""
    return next(iter(str(e).strip().splitlines()), type(e).__name__)


def load_staged(folder: Path, under: Path | None = None, *, device: str = "cpu", precision: Precision = "fp32") -> Subject:
    """A subject from a private folder: a pipeline, or a LoRA or a single-file checkpoint with ``under``, the base's private folder.

    Raises:
        UnreadableModel, NotScanned, MissingPart: as ``load`` and ``with_lora`` do.
    """
    if under is not None and (folder / LORA_TARGET).is_file():
        return with_lora(load(under, device=device, precision=precision), folder / LORA_TARGET, "the LoRA")
    return load(folder, device=device, precision=precision, configs=under)


def rehearse(folder: str, under: str = "") -> int:
    """``load_staged``, and one tiny step drawn with it: what a guarded child does first. Returns the number of weights."""
    subject = load_staged(Path(folder), Path(under) if under else None)
    with torch.no_grad():
        subject.decode(subject.denoise(subject.noise([0]), subject.n_timesteps - 1, subject.encode(["a"])))
    return sum(p.numel() for part in subject.components.values() for p in part.parameters())


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
            f"{folder} is not a diffusers pipeline: model_index.json is missing.", "Save it with save_pretrained."
        )
    try:
        name = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise UnreadableModel(f"{index} names no pipeline class.", "Save the model with save_pretrained.") from e
    return str(name)


def computes_in(precision: Precision, device: str) -> torch.dtype:
    """The dtype that ``precision`` means on ``device``.

    Raises:
        UsageError: no such precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"There is no precision {precision!r}.", f"Known: {', '.join(get_args(Precision))}.")
    native = {"cpu": _cpu_has_bf16, "cuda": torch.cuda.is_bf16_supported}.get(torch.device(device).type, bool)
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native()) else torch.float32


def _cpu_has_bf16() -> bool:
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@contextmanager
def quiet() -> Iterator[None]:
    """diffusers' and transformers' own remarks held back; what matters becomes an error of ours."""
    before = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers_logging.set_verbosity(before[0])
        transformers_logging.set_verbosity(before[1])
        transformers_logging.enable_progress_bar()
        diffusers_logging.enable_progress_bar()


def save_pipeline(subject: Subject, folder: Path, dtype: torch.dtype) -> None:
    """Write ``subject`` as a stock folder beside its final name, then rename.

    Raises:
        NotWritten: no room, or the place cannot be written to; nothing is left there.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    made = copy.copy(subject.pipeline)
    try:
        with quiet():
            for name in subject.components:
                setattr(made, name, copy.deepcopy(getattr(subject.pipeline, name)).to(dtype))
            made.save_pretrained(partial, safe_serialization=True)
        tidy_configs(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except (OSError, SafetensorError) as e:
        raise NotWritten(f"{folder} cannot be written: {e}.", "Free some room there, or choose another place.") from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def tidy_configs(folder: Path) -> None:
    """Take the saving machine's paths out of the component configs, and let the text encoder's name float32: transformers loads in the stored
    precision, diffusers in float32, and the two must meet."""
    for path in folder.glob("*/config.json"):
        config = {
            k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k not in ("_name_or_path", "torch_dtype")
        }
        if path.parent.name == "text_encoder":
            config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _wrap(pipeline: DiffusionPipeline, name: str, device: str, precision: Precision) -> Subject:
    """Move to the device, switch to evaluation, stop gradients, and take the schedule in DDIM form."""
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        part.eval().requires_grad_(False)
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config)
    return Subject(name, pipeline, schedule, torch.device(device), computes_in(precision, device))
