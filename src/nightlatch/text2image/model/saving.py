"""Writing a model as a stock diffusers folder: whole or not at all, and nothing that is there is touched."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from nightlatch.errors import NotWritten
from nightlatch.text2image.model.precision import quiet

_OF_THE_MACHINE = ("_name_or_path", "torch_dtype")
"""What a component's config holds about the machine that saved it."""


def save_pipeline(
    pipeline: DiffusionPipeline, parts: Iterable[str], folder: Path, dtype: torch.dtype
) -> None:
    """Write ``pipeline`` with its ``parts`` in ``dtype``: under a private name beside ``folder``, then
    renamed.

    Raises:
        NotWritten: ``folder`` is there already, there is no room, or the place cannot be written to; nothing
            is left there.
    """
    made = copy.copy(pipeline)
    private: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        private = Path(
            tempfile.mkdtemp(prefix=f".{folder.name[:100]}.", suffix=".partial", dir=folder.parent)
        )
        with quiet():
            for name in parts:
                setattr(made, name, copy.deepcopy(getattr(pipeline, name)).to(dtype))
            made.save_pretrained(private / "model", safe_serialization=True)
        tidy_configs(private / "model")
        _move(private / "model", folder)
    except FileExistsError as e:
        raise NotWritten(
            f"{folder} is there already.", "Choose another place; nothing is overwritten."
        ) from e
    except (OSError, SafetensorError) as e:
        raise NotWritten(
            f"{folder} cannot be written: {e}.", "Free some room there, or choose another place."
        ) from e
    finally:
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)


def _move(made: Path, folder: Path) -> None:
    """Rename ``made`` to ``folder``, which must not be there: an empty folder of our own holds the name until
    then.

    Raises:
        FileExistsError: it is there.
    """
    folder.mkdir()
    try:
        made.rename(folder)  # replaces an empty folder; fails where somebody has put something into it
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        raise


def tidy_configs(folder: Path) -> None:
    """Take the saving machine's paths out of the components' configs.

    The text encoder's names float32: transformers loads in the stored precision, diffusers in float32, and
    the two must meet.
    """
    for path in folder.glob("*/config.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        config = {k: v for k, v in stored.items() if k not in _OF_THE_MACHINE}
        if path.parent.name == "text_encoder":
            config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
