"""What a component's config.json may say: known keys, sane numbers, nothing that names code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from nightlatch.intake.case import Case
from nightlatch.intake.configs import schedule
from nightlatch.intake.configs.classes import SCHEDULERS
from nightlatch.intake.configs.fields import ConfigProblem, Fields
from nightlatch.safetext import show

MAX_LATENT_SIZE = 512
MAX_PIXEL_SIZE = 8192
_ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_KERNEL_KEYS = (
    "attn_implementation",
    "experts_implementation",
    "use_kernels",
    "kernel_config",
    "kernel_repo",
    "kernels",
)
_DROPPED = ("auto_map", "custom_pipelines", "chat_template")
_ACTIVATIONS = ("silu", "swish", "mish", "gelu", "relu")
_TEXT_ACTIVATIONS = ("quick_gelu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu")
_COMMON = frozenset({"_class_name", "_diffusers_version", "_name_or_path", "_commit_hash"})

UNET_KEYS = _COMMON | {
    "act_fn", "addition_embed_type", "addition_embed_type_num_heads", "addition_time_embed_dim",
    "attention_head_dim",
    "attention_type", "block_out_channels", "center_input_sample", "class_embed_type",
    "class_embeddings_concat",
    "conv_in_kernel", "conv_out_kernel", "cross_attention_dim", "cross_attention_norm", "down_block_types",
    "downsample_padding", "dropout",
    "dual_cross_attention", "encoder_hid_dim", "encoder_hid_dim_type", "flip_sin_to_cos", "freq_shift",
    "in_channels",
    "layers_per_block", "mid_block_only_cross_attention", "mid_block_scale_factor", "mid_block_type",
    "norm_eps",
    "norm_num_groups", "num_attention_heads", "num_class_embeds", "only_cross_attention", "out_channels",
    "projection_class_embeddings_input_dim", "resnet_out_scale_factor", "resnet_skip_time_act",
    "resnet_time_scale_shift",
    "reverse_transformer_layers_per_block", "sample_size", "time_cond_proj_dim", "time_embedding_act_fn",
    "time_embedding_dim",
    "time_embedding_type", "timestep_post_act", "transformer_layers_per_block", "up_block_types",
    "upcast_attention",
    "use_linear_projection",
}  # fmt: skip
VAE_KEYS = _COMMON | {
    "act_fn", "block_out_channels", "down_block_types", "force_upcast", "in_channels", "latent_channels",
    "latents_mean",
    "latents_std", "layers_per_block", "mid_block_add_attention", "norm_num_groups", "out_channels",
    "sample_size",
    "scaling_factor", "shift_factor", "up_block_types", "use_post_quant_conv", "use_quant_conv",
}  # fmt: skip
TEXT_KEYS = frozenset({
    "_name_or_path", "architectures", "attention_dropout", "bos_token_id", "dropout", "dtype",
    "eos_token_id", "hidden_act",
    "hidden_size", "initializer_factor", "initializer_range", "intermediate_size", "layer_norm_eps",
    "max_position_embeddings",
    "model_type", "num_attention_heads", "num_hidden_layers", "pad_token_id", "projection_dim", "torch_dtype",
    "transformers_version", "vocab_size",
})  # fmt: skip


def load(case: Case, path: str, cls: str) -> Fields | None:
    """The checked config of a component, staged with its known keys only; None, with findings, when it is
    refused.
    """
    if path not in case.inventory.entries:
        case.findings.add("config-missing", path)
        return None
    value = case.json(path, infinite=cls in SCHEDULERS)
    if value is None or not check_common(case, path, value):
        return None
    if cls in _CHECKS and value.get("_class_name", cls) != cls:
        sentence = (
            f"It is the config of '{show(str(value['_class_name']), 60)}', and model_index.json names {cls}."
        )
        case.findings.add("index", path, sentence)
        return None
    fields = Fields(value)
    check, keys = _CHECKS.get(cls, (_scheduler, None))
    try:
        check(fields)
    except ConfigProblem as e:
        case.findings.add(e.rule, path, e.sentence)
        return None
    _stage(case, path, value, keys)
    return fields


def check_common(case: Case, path: str, value: dict[str, Any], *, quantised: bool = True) -> bool:
    """What no config may do, whatever its class; false when it must be refused. ``quantised``: whether
    quantised weights are a defect.
    """
    sound = True
    if quantised and value.get("quantization_config") is not None:
        method = (
            value["quantization_config"].get("quant_method")
            if isinstance(value["quantization_config"], dict)
            else ""
        )
        case.findings.add(
            "quantised", path, f"The weights are quantised for another package: '{show(str(method), 40)}'."
        )
        sound = False
    if value.get("_use_default_values"):
        case.findings.add(
            "config-value", path, "'_use_default_values' makes loaders pass over what the config itself says."
        )
        sound = False
    for key, inner in _pairs(value):
        if key == "auto_map" and inner is not None:
            case.findings.add("auto-map", path)
        elif key == "chat_template" and inner is not None:
            case.findings.add("template", path)
        elif any(k in key for k in _KERNEL_KEYS) and not (isinstance(inner, bool) or inner in _ATTENTION):
            case.findings.add(
                "kernel-field", path, f"'{show(key, 40)}' names compiled code from somewhere else."
            )
            sound = False
    return sound


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values at every depth, without recursion."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item.items()
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(v for v in item if isinstance(v, dict | list))


def _stage(case: Case, path: str, value: dict[str, Any], keys: frozenset[str] | None) -> None:
    unknown = [k for k in value if k in _DROPPED or (keys is not None and k not in keys)]
    if not unknown:
        case.stage(path, path)
        return
    shown = ", ".join(f"'{show(k, 40)}'" for k in sorted(unknown)[:5])
    case.findings.add(
        "unknown-key", path, f"{len(unknown)} keys that the class does not have are not staged: {shown}."
    )
    kept = {k: v for k, v in value.items() if k not in unknown}
    case.stage(path, path, json.dumps(kept, indent=2, sort_keys=True).encode())


def _unet(c: Fields) -> None:
    c.choice("mid_block_type", ("UNetMidBlock2DCrossAttn",), "unsupported-option")
    c.choice("attention_type", ("default",), "unsupported-option")
    c.choice("resnet_time_scale_shift", ("default",), "unsupported-option")
    c.choice("time_embedding_type", ("positional",), "unsupported-option")
    for key in ("class_embed_type", "num_class_embeds", "addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type",
                "cross_attention_norm", "reverse_transformer_layers_per_block", "num_attention_heads",
                "timestep_post_act",
                "time_embedding_act_fn"):  # fmt: skip
        c.choice(key, (None,), "unsupported-option")
    for key in (
        "dual_cross_attention",
        "only_cross_attention",
        "resnet_skip_time_act",
        "class_embeddings_concat",
    ):
        c.choice(key, (None, False), "unsupported-option")
    widths = c.whole_list("block_out_channels", [320, 640, 1280, 1280])
    blocks = len(widths)
    for key, known in (
        ("down_block_types", ("CrossAttnDownBlock2D", "DownBlock2D")),
        ("up_block_types", ("CrossAttnUpBlock2D", "UpBlock2D")),
    ):
        _block_types(c, key, known, blocks)
    c.choice("act_fn", _ACTIVATIONS)
    heads = c.per_block("attention_head_dim", 8, blocks)
    if any(widths[i] % heads[i] for i in _attending(c, blocks)):
        raise ConfigProblem("config-value", "'attention_head_dim' does not divide 'block_out_channels'.")
    _groups(c, widths)
    _size(c, MAX_LATENT_SIZE)
    for key in ("mid_block_scale_factor", "resnet_out_scale_factor"):
        c.number(key, 1.0, 1e-3, 1e3)
    c.number("norm_eps", 1e-5, 1e-12, 1e-1)
    c.number("dropout", 0.0, 0.0, 1.0)
    c.choice("freq_shift", (None, 0, 1))
    c.whole("downsample_padding", 1, 0, 1)


def _attending(c: Fields, blocks: int) -> set[int]:
    """Numbers of the blocks that attend, the last one's for the middle block; the up blocks mirror the down
    blocks.
    """
    down = c.names("down_block_types", ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), blocks)
    up = c.names("up_block_types", ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, blocks)
    found = {i for i, kind in enumerate(down) if kind.startswith("Cross")}
    return found | {blocks - 1 - i for i, kind in enumerate(up) if kind.startswith("Cross")} | {blocks - 1}


def _vae(c: Fields) -> None:
    widths = c.whole_list("block_out_channels", [64])
    _block_types(c, "down_block_types", ("DownEncoderBlock2D",), len(widths))
    _block_types(c, "up_block_types", ("UpDecoderBlock2D",), len(widths))
    c.choice("act_fn", _ACTIVATIONS)
    _groups(c, widths)
    _size(c, MAX_PIXEL_SIZE)
    c.number("scaling_factor", 0.18215, 1e-4, 1e4)
    c.number("shift_factor", 0.0, -1e4, 1e4)
    channels = c.whole("latent_channels", 4)
    for key, low in (("latents_mean", -1e4), ("latents_std", 1e-6)):
        numbers = c.values.get(key)
        if numbers is not None and not (
            isinstance(numbers, list) and len(numbers) == channels and _all_within(numbers, low, 1e4)
        ):
            raise ConfigProblem("config-value", f"'{key}' is not one sane number per latent channel.")


def _text(c: Fields) -> None:
    c.choice("model_type", ("clip_text_model", "clip"))
    if "text_config" in c.values or "vision_config" in c.values:
        raise ConfigProblem("unsupported-option", "It is the config of a whole CLIP, not of its text model.")
    c.choice("hidden_act", _TEXT_ACTIVATIONS)
    c.choice("use_attention_mask", (None, False), "unsupported-option")
    if c.whole("hidden_size", 512) % c.whole("num_attention_heads", 8):
        raise ConfigProblem("config-value", "'num_attention_heads' does not divide 'hidden_size'.")
    c.number("layer_norm_eps", 1e-5, 1e-12, 1e-1)
    c.number("attention_dropout", 0.0, 0.0, 1.0)
    for key in ("bos_token_id", "pad_token_id", "eos_token_id"):
        if not isinstance(c.values.get(key), list):
            c.whole(key, 0, -1, 1 << 31)


_CLIPPED = "lambda_min_clipped"
"""DPMSolver's default for it is minus infinity, which diffusers writes as -Infinity."""


def _scheduler(c: Fields) -> None:
    for key, value in _pairs(c.values):
        if value == -math.inf and key != _CLIPPED:
            raise ConfigProblem("config-value", f"'{show(key, 40)}' is minus infinity.")
    c.choice("prediction_type", ("epsilon", "sample", "v_prediction"))
    c.choice("prediction_type", ("epsilon", "v_prediction"), "unsupported-option")
    schedule.check(c)
    c.choice("timestep_spacing", ("leading", "trailing", "linspace"))
    c.whole("steps_offset", 0, 0, 1)
    for key, value in c.values.items():
        if type(value) in (int, float) and abs(value) > 1e6 and (key, value) != (_CLIPPED, -math.inf):
            raise ConfigProblem("config-bound", f"'{show(key, 40)}' is larger than any scheduler needs.")


def _block_types(c: Fields, key: str, known: tuple[str, ...], blocks: int) -> None:
    value = c.values.get(key)
    if value is None:
        return
    odd = [t for t in c.names(key, (), blocks) if t not in known]
    if odd:
        raise ConfigProblem("unsupported-option", f"'{key}' names the block type '{show(odd[0], 60)}'.")


def _groups(c: Fields, widths: list[int]) -> None:
    groups = c.whole("norm_num_groups", 32)
    if any(w % groups for w in widths):
        raise ConfigProblem("config-value", "'norm_num_groups' does not divide 'block_out_channels'.")


def _size(c: Fields, limit: int) -> None:
    value = c.values.get("sample_size")
    for n in value if isinstance(value, list) else [value]:
        Fields({"sample_size": n}).whole("sample_size", 1, 1, limit)


def _all_within(values: list[Any], low: float, high: float) -> bool:
    return all(type(v) in (int, float) and low <= v <= high for v in values)


_CHECKS: dict[str, tuple[Callable[[Fields], None], frozenset[str] | None]] = {
    "UNet2DConditionModel": (_unet, UNET_KEYS),
    "AutoencoderKL": (_vae, VAE_KEYS),
    "CLIPTextModel": (_text, TEXT_KEYS),
}
