"""OpenCLIP's own layout, read into transformers' CLIPModel: the same network under other names.

Known are the architectures whose config has a plain vision transformer and a plain text transformer; whatever
else a config names (a timm tower, a Hugging Face text tower, a CoCa decoder) is refused by that name.
Source: the two implementations' parameter names; that both give the same embeddings is what the test of this
file checks on one network written under both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from nightlatch.errors import UnreadableModel

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAIN_VISION = frozenset({"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"})
PLAIN_TEXT = frozenset({"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"})
"""What a config may say without changing the network's kind."""
IN_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
OUTSIDE = {
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}  # fmt: skip
TURNED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
"""Kept as (in, out) there and as (out, in) here."""


def load(folder: Path) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """(CLIPModel, mean, std) of an OpenCLIP folder.

    Raises:
        UnreadableModel: no safetensors, an architecture that is not known, or weights that do not fit it.
    """
    import transformers

    try:
        said = json.loads((folder / CONFIG).read_text("utf-8"))
        tensors = load_file(folder / WEIGHTS)
        config = transformers.CLIPConfig(**shape(said["model_cfg"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
        reason = str(e).splitlines()[0][:200] if str(e) else type(e).__name__
        raise UnreadableModel(
            f"{folder} is no readable OpenCLIP folder: {reason}", f"It needs {CONFIG} and {WEIGHTS}."
        ) from e
    model = transformers.CLIPModel(config)
    try:
        missing, extra = model.load_state_dict(renamed(tensors), strict=False)
    except RuntimeError as e:
        raise UnreadableModel(
            f"The weights of {folder} have other shapes than its config says.", "Fetch it again."
        ) from e
    missing = [m for m in missing if not m.endswith("position_ids")]
    if missing or extra:
        wrong = (missing or extra)[0]
        raise UnreadableModel(
            f"The weights of {folder} do not fit its config, {wrong} first.",
            "Only plain ViT towers are known.",
        )
    preprocess = said.get("preprocess_cfg", {})
    return model, tuple(preprocess.get("mean", MEAN)), tuple(preprocess.get("std", STD))


def shape(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' config of an OpenCLIP ``model_cfg``.

    Raises:
        ValueError: it names something that is no plain tower.
    """
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if isinstance(vision["layers"], list):
        raise ValueError("a ResNet image tower is not known")
    for odd in [*sorted(set(vision) - PLAIN_VISION), *sorted(set(text) - PLAIN_TEXT)]:
        raise ValueError(f"{odd!r} is not known")
    act = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    width, words = int(vision["width"]), int(text["vocab_size"])
    return {
        "projection_dim": model_cfg["embed_dim"],
        "vision_config": {
            "image_size": vision["image_size"], "patch_size": vision["patch_size"], "hidden_size": width,
            "hidden_act": act,
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": width // int(vision.get("head_width", 64)),
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "projection_dim": model_cfg["embed_dim"],
        },
        "text_config": {
            "vocab_size": words, "max_position_embeddings": text["context_length"],
            "hidden_size": text["width"],
            "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"], "hidden_act": act,
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
            "projection_dim": model_cfg["embed_dim"],
            "bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1,
        },
    }  # fmt: skip


def renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under transformers' names; packed query, key and value are taken apart."""
    made: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        if name in OUTSIDE:
            made[OUTSIDE[name]] = value
        elif name in TURNED:
            made[TURNED[name]] = value.T.contiguous()
        elif ".resblocks." in name:
            made |= _in_block(name, value)
        elif name != "attn_mask":
            made[name] = value
    return made


def _in_block(name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    head, _, rest = name.partition("transformer.resblocks.")
    number, _, inner = rest.partition(".")
    place = f"{'vision_model' if head.startswith('visual') else 'text_model'}.encoder.layers.{number}."
    if inner.startswith("attn.in_proj_"):
        kind = inner.removeprefix("attn.in_proj_")
        return {
            f"{place}self_attn.{p}_proj.{kind}": v.clone() for p, v in zip("qkv", value.chunk(3), strict=True)
        }
    part, _, kind = inner.rpartition(".")
    return {f"{place}{IN_BLOCK.get(part, part)}.{kind}": value}
