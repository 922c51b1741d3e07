"""A folder with one image-text model in OpenCLIP's own layout: its config, weights and tokenizer.

Only plain transformer towers are looked at here, which are those that can be loaded; what another
architecture's folder holds is judged as files without a known model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlatch.intake import one_model
from nightlatch.intake.case import Case
from nightlatch.intake.files.header import Tensor
from nightlatch.safetext import show

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
MOST = {
    "vision_cfg": {
        "image_size": 4_096, "layers": 128, "width": 8_192, "patch_size": 512, "head_width": 8_192, "mlp_ratio": 16
    },
    "text_cfg": {
        "context_length": 8_192, "vocab_size": 1_000_000, "width": 8_192, "heads": 256, "layers": 128, "mlp_ratio": 16
    },
}  # fmt: skip
"""What a plain tower's table may hold, and more of it than any released model asks for."""
OPTIONAL = frozenset({"head_width", "mlp_ratio"})
TABLES = {
    "visual.conv1.weight": ("vision_cfg", ("width", 3, "patch_size", "patch_size")),
    "token_embedding.weight": ("text_cfg", ("vocab_size", "width")),
    "positional_embedding": ("text_cfg", ("context_length", "width")),
}
"""Tensors that every such model has, and the config's numbers that are their shape."""


def is_plain(case: Case) -> bool:
    """Whether the folder holds a model of two plain towers; adds no finding."""
    value = one_model.peek(case, CONFIG, WEIGHTS)
    towers = value.get("model_cfg") if value is not None else None
    if not isinstance(towers, dict):
        return False
    parts = [(towers.get(name), most) for name, most in MOST.items()]
    return all(
        isinstance(p, dict) and set(p) <= set(m) and not isinstance(p.get("layers"), list) for p, m in parts
    )


def check(case: Case) -> None:
    """Findings for the folder; what loads is planned to be staged as it is."""
    one_model.check(case, "CLIPModel", CONFIG, WEIGHTS, bounded=_bounded, fits=_fits)


def _bounded(case: Case, config: Mapping[str, Any]) -> bool:
    """Whether all numbers are there, positive, and no larger than any real model's."""
    model = config["model_cfg"]
    asked = {("", "embed_dim"): (model.get("embed_dim"), 16_384)}
    for tower, most in MOST.items():
        asked |= {(tower, k): (model[tower].get(k), m) for k, m in most.items()}
    for (tower, key), (value, largest) in asked.items():
        if value is None and key in OPTIONAL:
            continue
        whole = isinstance(value, int | float) if key == "mlp_ratio" else isinstance(value, int)
        name = f"{tower}.{key}".lstrip(".")
        if not whole or isinstance(value, bool) or value is None or value <= 0:
            case.findings.add("config-value", CONFIG, f"'{name}' is {show(str(value), 40)}.")
            return False
        if value > largest:
            case.findings.add("config-bound", CONFIG, f"'{name}' is {value:,}; at most {largest:,} are read.")
            return False
    return True


def _fits(case: Case, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tables that every such model has are there, in the shapes that the config gives."""
    for name, (tower, keys) in TABLES.items():
        if name not in tensors:
            case.findings.add("missing-keys", WEIGHTS, f"'{name}' is not there.")
            return False
        wanted = tuple(k if isinstance(k, int) else config["model_cfg"][tower][k] for k in keys)
        if tensors[name].shape != wanted:
            sentence = f"'{name}' is {tensors[name].shape}, and the config asks for {wanted}."
            case.findings.add("shape-mismatch", WEIGHTS, sentence)
            return False
    return True
