"""What a model is more than its base, as a LoRA that diffusers and its kin read.

A repaired LoRA is handed back as one: its layers' changes of the base, factorised.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from nightlatch.errors import NotWritten
from nightlatch.terms import Role
from nightlatch.text2image.model.subject import Subject

EXACT = 1e-3
"""Part of a layer's change that may be lost by cutting its rank: less than half precision loses of a weight."""


def save_change(made: Subject, base: Subject, file: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write ``file``, a LoRA that makes ``base`` into ``made`` at strength 1; whole or not at all.

    Raises:
        NotWritten: ``file`` is there already, something differs that a LoRA cannot hold, or there is no room.
    """
    if os.path.lexists(file):
        raise NotWritten(f"{file} is there already.", "Choose another place; nothing is overwritten.")
    pairs = change(made, base, dtype)
    private = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, private = tempfile.mkstemp(prefix=f".{file.name[:100]}.", suffix=".partial", dir=file.parent)
        os.close(handle)
        save_file(pairs, private)
        os.link(private, file)  # unlike a rename it never replaces what somebody has put there
    except (OSError, SafetensorError) as e:
        raise NotWritten(
            f"{file} cannot be written: {e}.", "Free some room there, or choose another place."
        ) from e
    finally:
        if private:
            with suppress(OSError):
                os.unlink(private)


@torch.no_grad()
def change(made: Subject, base: Subject, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """The pairs of matrices, by peft's names, of every linear and convolutional layer that differs.

    Raises:
        NotWritten: something else differs.
    """
    pairs: dict[str, torch.Tensor] = {}
    for name in (n for role in (Role.TEXT, Role.DENOISER) for n in made.named(role)):
        mine, theirs = made.parts[name].module, base.parts[name].module.state_dict()
        layers = {f"{path}.weight": path for path, m in mine.named_modules() if _holds(m)}
        for key, w in mine.state_dict().items():
            w0 = theirs.get(key)
            if w0 is not None and w0.shape == w.shape and torch.equal(w, w0):
                continue
            if w0 is None or w0.shape != w.shape or key not in layers:
                raise NotWritten(
                    f"The repaired {name} differs from the base in {key}, which a LoRA cannot hold.",
                    "Name a folder with -o, for the whole model.",
                )
            down, up = factors((w - w0).float())
            pairs[f"{name}.{layers[key]}.lora_A.weight"] = down.to(dtype).contiguous().cpu()
            pairs[f"{name}.{layers[key]}.lora_B.weight"] = up.to(dtype).contiguous().cpu()
    if not pairs:
        raise NotWritten("Nothing is left of the LoRA: the repaired model is the base.", "Use the base.")
    return pairs


def factors(d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, B) of the lowest rank with B A near ``d`` (``EXACT``): (rank, in, ...) and (out, rank, 1, ...)."""
    u, s, vh = torch.linalg.svd(d.flatten(1), full_matrices=False)
    lost = s.pow(2).flip(0).cumsum(0).flip(0).sqrt() / s.norm().clamp(
        min=1e-30
    )  # by keeping those before each
    rank = max(1, int((lost > EXACT).sum()))
    root = s[:rank].sqrt()
    down, up = root[:, None] * vh[:rank], u[:, :rank] * root
    return down.unflatten(1, d.shape[1:]) if d.ndim > 2 else down, up[(...,) + (None,) * (d.ndim - 2)]


def _holds(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
