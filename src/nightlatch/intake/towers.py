"""A folder with one image-text model as transformers saves it (CLIP, SigLIP) or OpenCLIP: its config, weights, tokenizer
and picture normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlatch.intake import one_model, openclip
from nightlatch.intake.case import MAX_TOKENIZER_BYTES, Case
from nightlatch.intake.configs import components
from nightlatch.intake.files.header import Tensor
from nightlatch.safetext import show

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""model_type -> the class that loads it."""
TEXTS = ("tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
SETTINGS = ("tokenizer_config.json", "preprocessor_config.json")
MOST = {
    "hidden_size": 8_192, "intermediate_size": 65_536, "num_hidden_layers": 128, "num_attention_heads": 256,
    "vocab_size": 1_000_000, "max_position_embeddings": 8_192, "image_size": 4_096, "patch_size": 512,
    "num_channels": 16, "projection_dim": 16_384,
}  # fmt: skip
"""More than any released CLIP or SigLIP asks for, by a factor of four at least."""
TABLES = {
    "text_model.embeddings.token_embedding.weight": ("text_config", ("vocab_size", "hidden_size")),
    "text_model.embeddings.position_embedding.weight": (
        "text_config",
        ("max_position_embeddings", "hidden_size"),
    ),
    "vision_model.embeddings.patch_embedding.weight": (
        "vision_config",
        ("hidden_size", "num_channels", "patch_size", "patch_size"),
    ),
}
"""Tensors that every such model has, and the config's numbers that are their shape."""


def kind(case: Case) -> str:
    """The class of the model in the folder, '' where its config names no image-text model; no finding."""
    return _of_transformers(case) or ("CLIPModel" if openclip.is_plain(case) else "")


def _of_transformers(case: Case) -> str:
    value = one_model.peek(case, CONFIG, WEIGHTS)
    if value is None:
        return ""
    cls = CLASSES.get(str(value.get("model_type")), "")
    named = value.get("architectures") or [cls]
    return cls if cls and named == [cls] else ""


def check(case: Case, cls: str) -> None:
    """Findings for the folder of a model of class ``cls``; what loads is planned to be staged as it is."""
    if _of_transformers(case):
        one_model.check(case, cls, CONFIG, WEIGHTS, bounded=_bounded, fits=_fits)
    else:
        openclip.check(case)
    _texts(case)


def _bounded(case: Case, config: Mapping[str, Any]) -> bool:
    """Whether both towers' numbers are whole, positive and no larger than any real model's."""
    for tower in ("text_config", "vision_config"):
        inner = config.get(tower)
        if not isinstance(inner, dict) or not components.check_common(case, CONFIG, inner):
            case.findings.add("config-value", CONFIG, f"'{tower}' is missing or no table of settings.")
            return False
        for key, most in MOST.items():
            value = inner.get(key, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                case.findings.add("config-value", CONFIG, f"'{tower}.{key}' is {show(str(value), 40)}.")
                return False
            if value > most:
                case.findings.add(
                    "config-bound", CONFIG, f"'{tower}.{key}' is {value:,}; at most {most:,} are read."
                )
                return False
    return True


def _fits(case: Case, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tables that every such model has are there, in the shapes that the config gives."""
    for name, (tower, keys) in TABLES.items():
        if name not in tensors:
            case.findings.add("missing-keys", WEIGHTS, f"'{name}' is not there.")
            return False
        wanted = tuple(config[tower].get(k, size) for k, size in zip(keys, tensors[name].shape, strict=False))
        if tensors[name].shape != wanted:
            sentence = f"'{name}' is {tensors[name].shape}, and the config asks for {wanted}."
            case.findings.add("shape-mismatch", WEIGHTS, sentence)
            return False
    return True


def _texts(case: Case) -> None:
    """The tokenizer's files and the picture normalisation: readable, and nothing in them names code."""
    for name in (*SETTINGS, *TEXTS):
        if name not in case.inventory.entries:
            continue
        if name.endswith(".txt"):
            fine = case.read(name, MAX_TOKENIZER_BYTES) is not None
        else:
            value = case.json(name, limit=MAX_TOKENIZER_BYTES)
            fine = value is not None and (name in TEXTS or components.check_common(case, name, value))
        if fine:
            case.stage(name, name)
    if not case.plan.keys() & {"tokenizer.json", "vocab.json"}:
        case.findings.add("tokenizer-missing", "")
