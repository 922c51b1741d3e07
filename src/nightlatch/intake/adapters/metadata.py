"""The peft settings that a LoRA file may carry in its metadata: diffusers takes them over whole, so only
known, harmless ones pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from nightlatch.intake.files import jsonread

KEY = "lora_adapter_metadata"
MAX_SCALE = 1_000.0
MAX_RANK = 1 << 16
_PARTS = ("unet.", "text_encoder.")
_NAME = re.compile(r"\^?[A-Za-z0-9_.]{1,512}")
"""peft reads the names in patterns as regular expressions."""
_EMPTY: tuple[Any, ...] = (None, False, "", [], {})


class Unsound(Exception):
    """Why the settings are refused: a rule id and a sentence."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule, self.sentence = rule, sentence


def check(metadata: Mapping[str, str]) -> None:
    """Raises Unsound unless the settings in ``metadata``, if any, only say what the pairs' rank and scale
    are.

    The rule is 'lora-alpha' for a scale that is not above zero and finite, else 'unsupported-option'.
    """
    raw = metadata.get(KEY)
    if not raw:
        return
    try:
        value = jsonread.parse(raw.encode())
    except jsonread.JsonProblem as e:
        raise Unsound(
            "unsupported-option", f"The settings in its metadata are refused. {e.sentence}"
        ) from None
    if not isinstance(value, dict):
        raise Unsound("unsupported-option", "The settings in its metadata are not a JSON object.")
    for part in _PARTS:
        _check_part({k.removeprefix(part): v for k, v in value.items() if k.startswith(part)})


def settings(metadata: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """The settings by the prefix of the component that they are for; {} without any, or with broken ones."""
    try:
        value = jsonread.parse(metadata.get(KEY, "").encode())
    except jsonread.JsonProblem:
        return {}
    if not isinstance(value, dict):
        return {}
    found = {
        part: {k.removeprefix(part): v for k, v in value.items() if k.startswith(part)} for part in _PARTS
    }
    return {part: held for part, held in found.items() if held}


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What a trainer says calls the LoRA (modelspec.trigger_phrase): words between commas, at most 20 of 100
    characters.
    """
    words = (w.strip() for w in metadata.get("modelspec.trigger_phrase", "")[:2_000].split(","))
    return tuple(dict.fromkeys(w for w in words if w and len(w) <= 100))[:20]


def scale(settings: Mapping[str, Any], module: str, rank: int) -> float | None:
    """alpha over rank, or over its root (rsLoRA), that ``settings`` give to ``module``; None where they give
    no sane one.

    Patterns name a module by its end, as peft reads them.
    """

    def given(pattern: str, usual: Any) -> Any:
        table = settings.get(pattern)
        held = table.items() if isinstance(table, dict) else ()
        return next(
            (v for k, v in held if module == k.lstrip("^") or module.endswith(f".{k.lstrip('^')}")),
            settings.get(usual),
        )

    alpha, told = given("alpha_pattern", "lora_alpha"), given("rank_pattern", "r")
    told = told if _is_rank(told) else rank
    if not sane(alpha, told):
        return None
    return float(alpha) / (math.sqrt(told) if settings.get("use_rslora") is True else told)


def sane(alpha: Any, rank: int) -> bool:
    """Whether ``alpha`` is a finite number above zero that multiplies by at most ``MAX_SCALE``."""
    return type(alpha) in (int, float) and math.isfinite(alpha) and 0 < alpha <= MAX_SCALE * rank


def _check_part(settings: Mapping[str, Any]) -> None:
    """The settings of one component, without their prefix."""
    rank = settings.get("r", 8)
    if not _is_rank(rank):
        raise Unsound("lora-alpha", "'r' in its metadata is not a sane rank.")
    alphas = settings.get("alpha_pattern") or {}
    given = [settings.get("lora_alpha", rank), *(alphas.values() if isinstance(alphas, dict) else [None])]
    if not all(sane(a, rank) for a in given):
        raise Unsound(
            "lora-alpha", "An alpha in its metadata is not a finite number above zero of a sane size."
        )
    for key, value in settings.items():
        if not (_is_empty(value) or (key in _KNOWN and _KNOWN[key](value))):
            shown = key if _NAME.fullmatch(key) else "a setting"
            raise Unsound(
                "unsupported-option", f"'{shown[:60]}' in its metadata has a value that is not supported."
            )


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_RANK


def _is_empty(value: Any) -> bool:
    return value in _EMPTY or (isinstance(value, dict) and all(v in _EMPTY for v in value.values()))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and _NAME.fullmatch(v) for v in value)


def _is_pattern(value: Any, sound: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and _is_names(list(value)) and all(map(sound, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return value is True


_KNOWN: dict[str, Callable[[Any], bool]] = {
    "r": _is_rank,
    "lora_alpha": lambda v: type(v) in (int, float),
    "target_modules": _is_names,
    "rank_pattern": lambda v: _is_pattern(v, _is_rank),
    "alpha_pattern": lambda v: _is_pattern(v, lambda a: type(a) in (int, float)),
    "lora_dropout": lambda v: type(v) in (int, float) and 0 <= v <= 1,
    "use_rslora": _is_flag,
    "use_dora": _is_flag,
    "lora_bias": _is_flag,
    "inference_mode": _is_flag,
    "ensure_weight_tying": _is_flag,
    "init_lora_weights": lambda v: v is True or v == "gaussian",
    "qalora_group_size": lambda v: type(v) is int,
    "bias": lambda v: v == "none",
    "peft_type": lambda v: v == "LORA",
    "megatron_core": lambda v: v == "megatron.core",
    "peft_version": _is_text,
    "base_model_name_or_path": _is_text,
    "revision": _is_text,
    "task_type": _is_text,
}
