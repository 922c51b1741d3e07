"""The tokenizer's settings: every key that a loader may obey is either checked and staged unchanged, or
refused.

A key left out of the staged copy would make the scanned tokenizer another one than the one that its users
get.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nightlatch.intake.carriers import hint
from nightlatch.intake.case import Case
from nightlatch.intake.configs.classes import FAST_TOKENIZERS, STANDARD_TOKENIZERS
from nightlatch.intake.configs.components import check_common
from nightlatch.intake.findings import Findings
from nightlatch.intake.tokenizer.bpe import END_TOKEN, STANDARD_SPECIAL, START_TOKEN
from nightlatch.safetext import show
from nightlatch.terms import HintKind

MAX_LENGTH = 100_000
MAX_SHOWN = 200
_FURTHER = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")
_ROLES = {
    "bos_token": frozenset({START_TOKEN, "<s>"}), "eos_token": frozenset({END_TOKEN, "</s>"}),
    "unk_token": frozenset({END_TOKEN, "<unk>"}),
    "pad_token": frozenset({END_TOKEN, "</s>", "<|pad|>", "<pad>", "!"}),
}  # fmt: skip
"""Which of the usual special tokens may stand for what."""
PADDING = frozenset({END_TOKEN, "!"})
"""CLIP's padding, and the one that Stable Diffusion 2 was trained with; its published files name both."""
_USUAL: dict[str, tuple[Any, ...]] = {
    "add_prefix_space": (False,),
    "backend": ("tokenizers",),
    "do_lower_case": (True,),
    "padding_side": ("right",),
    "split_special_tokens": (False,),
    "tokenizer_class": (*STANDARD_TOKENIZERS, *FAST_TOKENIZERS, "PreTrainedTokenizer"),
    "truncation_side": ("right",),
}
"""Keys that change what a prompt becomes, with the values that CLIP's tokenizer has."""
_OBEYED = frozenset({
    *_FURTHER, *_USUAL, "added_tokens_decoder", "clean_up_tokenization_spaces", "errors", "model_max_length",
    "processor_class",
})  # fmt: skip
_INERT = frozenset({
    "auto_map", "chat_template", "is_local", "local_files_only", "max_length", "name_or_path",
    "pad_to_multiple_of",
    "pad_token_type_id", "special_tokens_map_file", "stride", "truncation_strategy", "use_fast",
})  # fmt: skip
"""Keys that a loader passes over, or takes from the caller: none of them has an effect on prompts."""
_FLAGS = frozenset({"lstrip", "normalized", "rstrip", "single_word", "special"})


def check_config(case: Case, path: str, positions: int | None) -> dict[str, Any]:
    """Findings for tokenizer_config.json, staged; its content, {} where there is none. ``positions`` of the
    text encoder.
    """
    config = case.json(path) if case.entry(path) else None
    if config is None:
        return {}
    check_common(case, path, config)
    length = config.get("model_max_length")
    if length is not None and (type(length) not in (int, float) or not 1 <= length <= MAX_LENGTH):
        case.findings.add(
            "config-bound", path, f"'model_max_length' is not a number from 1 to {MAX_LENGTH:,}."
        )
    elif length is not None and positions is not None and length > positions:
        case.findings.add(
            "config-exceeds-weights",
            path,
            f"'model_max_length' {length} exceeds the table of {positions} positions.",
        )
    elif length is not None and positions is not None and length < positions:
        sentence = f"It cuts prompts after {length} tokens, and the text encoder reads {positions}."
        case.findings.add("tokenizer-rewrite", path, sentence)
    for key, usual in _USUAL.items():
        if config.get(key) is not None and config[key] not in usual:
            case.findings.add(
                "tokenizer-rewrite", path, f"'{key}' is '{show(str(config[key]), 40)}', as CLIP's is not."
            )
    _stage(case, path, config)
    return config


def check_special_map(case: Case, path: str, config: dict[str, Any]) -> None:
    """Findings for special_tokens_map.json, which some versions read instead of what ``config`` says;
    staged.
    """
    table = case.json(path) if case.entry(path) else None
    if table is None:
        return
    _stage(case, path, table)
    for key in sorted(table.keys() & config.keys()):
        mine, other = content(table[key]), content(config[key])
        if key.endswith("_token") and mine is not None and other is not None and mine != other:
            fills = key == "pad_token" and {mine, other} <= PADDING
            sentence = (
                f"It and tokenizer_config.json name other tokens for '{show(key, 40)}', and libraries differ "
                "in which they take."
            )
            case.findings.add("other-padding" if fills else "tokenizer-rewrite", path, sentence)


def check_special(findings: Findings, path: str, table: dict[str, Any]) -> None:
    """Findings for the special tokens of ``table``: whatever is one is cut out of a prompt before anything
    else is done with it.
    """
    for key, token in _special(table):
        text = content(token)
        if not _is_token(token):
            findings.add("tokenizer-map", path, f"'{show(key, 40)}' is neither a token nor empty.")
        elif text is not None and (text not in STANDARD_SPECIAL or (text == "!" and key != "pad_token")):
            sentence = f"'{show(key, 40)}' is '{show(text, MAX_SHOWN)}', which a prompt may hold by itself."
            findings.add("special-token", path, sentence, hint=hint(HintKind.TOKEN, path, (text,)))
        elif text is not None and key in _ROLES and text not in _ROLES[key]:
            sentence = (
                f"'{key}' is '{text}', which has another part in CLIP's tokenizer, so that every prompt is "
                "framed otherwise."
            )
            findings.add("special-token", path, sentence)


def content(value: Any) -> str | None:
    """The text of a token that is written as text or as a table."""
    inner = value.get("content") if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else None


def _stage(case: Case, path: str, table: dict[str, Any]) -> None:
    """Stage what has an effect; refuse what may have one."""
    check_special(case.findings, path, table)
    kept = {k: v for k, v in table.items() if k in _OBEYED or k.endswith("_token")}
    if odd := sorted(
        k for k, v in table.items() if k not in kept and k not in _INERT and v not in (None, [], {})
    ):
        case.findings.add(
            "tokenizer-setting", path, f"It holds '{show(odd[0], 60)}', whose effect is not known."
        )
    elif table.keys() - kept.keys() - _INERT:
        case.findings.add("unknown-key", path)
    case.stage(
        path, path, None if len(kept) == len(table) else json.dumps(kept, indent=2, sort_keys=True).encode()
    )


def _special(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Key and token, of all keys that make one special."""
    yield from ((k, v) for k, v in table.items() if k.endswith("_token"))
    for key in _FURTHER:
        more = table.get(key) or ()
        yield from (
            ("a further special token", t)
            for t in (more.values() if isinstance(more, dict) else _listed(more))
        )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _is_token(value: Any) -> bool:
    """Nothing, a text, or a table of a text and flags."""
    if not isinstance(value, dict):
        return value is None or isinstance(value, str)
    flags = {k: v for k, v in value.items() if k not in ("content", "__type", "id")}
    return (
        isinstance(value.get("content"), str)
        and flags.keys() <= _FLAGS
        and all(isinstance(v, bool) for v in flags.values())
    )
