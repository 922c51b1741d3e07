"""The only file that knows model folders: transformers' CLIP and SigLIP, and OpenCLIP's own layout, become
subjects.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from nightlatch.contrastive import openclip
from nightlatch.contrastive.saving import quiet
from nightlatch.contrastive.subject import Subject
from nightlatch.errors import UnreadableModel

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's CLIP; what CLIPImageProcessor assumes when a folder does not say."""
HALF = (0.5, 0.5, 0.5)
"""SiglipImageProcessor's own mean and standard deviation."""
CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}


def load(folder: Path, *, device: str = "cpu") -> Subject:
    """A subject from a private or own folder; folders of others go through the gate first.

    Args:
        folder: config.json, model.safetensors, a tokenizer and (optional) preprocessor_config.json as
            transformers saves them; or open_clip_config.json with open_clip_model.safetensors.

    Raises:
        UnreadableModel: no such folder, an unsupported class, or weights that do not load whole.
    """
    if (folder / openclip.CONFIG).is_file():
        model, mean, std = openclip.load(folder)
        return wrap(model, _tokenizer(folder), folder.name, mean, std).to(device)
    kind = str(_json(folder / "config.json").get("model_type", ""))
    if kind not in CLASSES:
        raise UnreadableModel(
            f"{folder} holds a {kind or 'model without a type'}, which is no image-text model that is "
            "supported.",
            f"Supported: {', '.join(CLASSES.values())}, and OpenCLIP's safetensors layout.",
        )
    return wrap(_model(folder, kind), _tokenizer(folder), folder.name, *_normalisation(folder, kind)).to(
        device
    )


def wrap(model: Any, tokenizer: Any, name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Subject:
    """A subject around a model in memory (which it takes over): float32, eval mode, no gradients kept by the
    weights.
    """
    model = model.float().eval().requires_grad_(False)
    device = next(model.parameters()).device
    return Subject(
        name, model, tokenizer, torch.tensor(mean, device=device), torch.tensor(std, device=device)
    )


def _model(folder: Path, kind: str) -> Any:
    """The model with every weight taken from the file: a missing one would be random and judge nothing."""
    import transformers

    try:
        with quiet():
            model, info = getattr(transformers, CLASSES[kind]).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise UnreadableModel(
            f"{folder} does not load: {_first_line(e)}", "Run 'nightlatch check' on it for the reason."
        ) from e
    _require_whole(folder, set(info["missing_keys"]) | set(info.get("mismatched_keys", ())))
    return model


def _require_whole(folder: Path, missing: set[Any]) -> None:
    if missing:
        first = sorted(map(str, missing))[0]
        raise UnreadableModel(
            f"{folder} lacks {len(missing)} of the model's weights, {first} first.",
            "Fetch the file again, or ask its maker.",
        )


def _tokenizer(folder: Path) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as e:
        raise UnreadableModel(
            f"The tokenizer of {folder} does not load: {_first_line(e)}", "It must lie beside the weights."
        ) from e


def _normalisation(folder: Path, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation from preprocessor_config.json, else what the class assumes."""
    usual = (HALF, HALF) if kind == "siglip" else (CLIP_MEAN, CLIP_STD)
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return usual
    said = _json(path)
    mean, std = said.get("image_mean", usual[0]), said.get("image_std", usual[1])
    fine = all(
        isinstance(v, list | tuple) and len(v) == 3 and all(isinstance(x, int | float) for x in v)
        for v in (mean, std)
    )
    if not fine or min(std) <= 0:
        raise UnreadableModel(
            f"{path} holds no usable picture normalisation.",
            "It needs three means and three positive deviations.",
        )
    return tuple(map(float, mean)), tuple(map(float, std))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise UnreadableModel(f"{path} cannot be read as JSON.", "Give a model folder.") from e
    return value if isinstance(value, dict) else {}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
