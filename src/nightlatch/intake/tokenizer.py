"""The tokenizer's files: do they map text to ids as CLIP's tokenizer does, one to one, and within the embedding table?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from nightlatch.intake import bpe, normalizer
from nightlatch.intake.case import MAX_TOKENIZER_BYTES, Case
from nightlatch.intake.classes import FAST_TOKENIZERS
from nightlatch.intake.configs import check_common
from nightlatch.safetext import show

MAX_ADDED = 1_000
MAX_LENGTH = 100_000
MAX_SHOWN = 200
STANDARD_SPECIAL = frozenset({"<|startoftext|>", "<|endoftext|>", "<|pad|>", "<s>", "</s>", "<unk>", "<pad>", "!"})
_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")
_SPECIAL_KEYS = ("bos_token", "eos_token", "pad_token", "unk_token")
_CONFIG_KEYS = frozenset({
    "add_prefix_space", "added_tokens_decoder", "backend", "bos_token", "clean_up_tokenization_spaces", "do_lower_case",
    "eos_token", "errors", "extra_special_tokens", "model_max_length", "pad_token", "padding_side", "processor_class",
    "tokenizer_class", "truncation_side", "unk_token",
})  # fmt: skip


def check(case: Case, folder: str, cls: str, rows: int | None, positions: int | None) -> None:
    """Findings for the tokenizer in ``folder``, whose files are staged; ``rows`` of the embedding table, None if unknown."""
    config_path = f"{folder}/tokenizer_config.json"
    config = _config(case, config_path, positions)
    _special_map(case, f"{folder}/special_tokens_map.json")
    full = case.json(f"{folder}/tokenizer.json", limit=MAX_TOKENIZER_BYTES) if case.entry(f"{folder}/tokenizer.json") else None
    vocab = case.json(f"{folder}/vocab.json", limit=MAX_TOKENIZER_BYTES) if case.entry(f"{folder}/vocab.json") else None
    for name in _FILES:
        if f"{folder}/{name}" in case.inventory.entries:
            case.stage(f"{folder}/{name}", f"{folder}/{name}")
    if full is None and vocab is None:
        case.findings.add("tokenizer-missing", folder)
        return
    tables: list[tuple[str, dict[str, int], list[str]]] = []
    if full is not None and (table := _from_full(case, f"{folder}/tokenizer.json", full, cls)):
        tables.append((f"{folder}/tokenizer.json", *table))
    if vocab is not None:
        merges = bpe.merged_from_text(case.read(f"{folder}/merges.txt", MAX_TOKENIZER_BYTES) or b"")
        tables.append((f"{folder}/vocab.json", vocab, merges or []))
        if merges is None:
            case.findings.add("tokenizer-map", f"{folder}/merges.txt", "It is not a list of pairs.")
    if not _are_maps(case, tables, rows):
        return
    if len(tables) == 2 and tables[0][1] != _without_added(tables[1][1], tables[0][1]):
        case.findings.add("tokenizer-rewrite", f"{folder}/tokenizer.json", "It disagrees with vocab.json about a token's id.")
    if tables:
        _check_added(case, folder, full, config, tables[0][1], rows)


def _are_maps(case: Case, tables: list[tuple[str, dict[str, int], list[str]]], rows: int | None) -> bool:
    """Check every table, also when the first is already defective."""
    sound = [bpe.check(case.findings, *table, rows) for table in tables]
    return all(sound)


def _config(case: Case, path: str, positions: int | None) -> dict[str, Any]:
    if case.entry(path) is None:
        return {}
    config = case.json(path)
    if config is None:
        return {}
    check_common(case, path, config)
    length = config.get("model_max_length")
    if length is not None and (type(length) not in (int, float) or not 1 <= length <= MAX_LENGTH):
        case.findings.add("config-bound", path, f"'model_max_length' is not a number from 1 to {MAX_LENGTH:,}.")
    elif length is not None and positions is not None and length > positions:
        case.findings.add(
            "config-exceeds-weights", path, f"'model_max_length' {length} exceeds the table of {positions} positions."
        )
    _check_special(case, path, config)
    kept = {k: v for k, v in config.items() if k in _CONFIG_KEYS}
    if len(kept) != len(config):
        case.findings.add("unknown-key", path)
    case.stage(path, path, None if len(kept) == len(config) else json.dumps(kept, indent=2, sort_keys=True).encode())
    return config


def _special_map(case: Case, path: str) -> None:
    table = case.json(path) if case.entry(path) else None
    if table is not None:
        _check_special(case, path, table)
        kept = {k: v for k, v in table.items() if k in _SPECIAL_KEYS}
        case.stage(path, path, None if len(kept) == len(table) else json.dumps(kept, indent=2, sort_keys=True).encode())


def _check_special(case: Case, path: str, config: dict[str, Any]) -> None:
    more = config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
    pairs = [(key, _content(config.get(key))) for key in _SPECIAL_KEYS]
    pairs += [("a further special token", _content(t)) for t in _items(more)]
    for key, text in pairs:
        if text is not None and text not in STANDARD_SPECIAL:
            case.findings.add("special-token", path, f"'{key}' is '{show(text, MAX_SHOWN)}', which a prompt may hold by itself.")


def _from_full(case: Case, path: str, full: dict[str, Any], cls: str) -> tuple[dict[str, int], list[str]] | None:
    """Vocabulary and merges of a tokenizer.json; everything around them is compared with CLIP's."""
    used = "This tokenizer class uses it" if cls in FAST_TOKENIZERS else f"{cls} ignores it, other programs do not"
    for rule, difference in normalizer.differences(full):
        case.findings.add(rule, path, f"{difference} {used}.")
    model = full.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        case.findings.add("tokenizer-map", path, "Its model is not a byte-pair encoding with a vocabulary.")
        return None
    merges = bpe.merged_from_list(model.get("merges"))
    if merges is None:
        case.findings.add("tokenizer-map", path, "Its merges are not a list of pairs.")
        return None
    if model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix", "</w>") != "</w>":
        case.findings.add("tokenizer-rewrite", path, f"Its byte-pair encoding has options that CLIP's has not. {used}.")
    return model["vocab"], merges


def _without_added(vocab: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """``vocab`` without the special tokens that the other file keeps in another place."""
    return {k: v for k, v in vocab.items() if k in other or k not in STANDARD_SPECIAL}


def _check_added(
    case: Case, folder: str, full: dict[str, Any] | None, config: dict[str, Any], vocab: Mapping[str, int], rows: int | None
) -> None:
    """Added tokens of all three places where they may stand."""
    added = [(f"{folder}/tokenizer.json", *pair) for pair in _added_full(full)]
    added += [(f"{folder}/tokenizer_config.json", *pair) for pair in _added_config(config)]
    path = f"{folder}/added_tokens.json"
    separate = case.json(path) if case.entry(path) else None
    added += [(path, *pair) for pair in (separate or {}).items()]
    if len(added) > MAX_ADDED:
        case.findings.add("config-bound", folder, f"It adds {len(added):,} tokens; at most {MAX_ADDED:,} are read.")
        return
    ids: dict[str, Any] = dict(vocab)
    for path, text, number in added:
        if not isinstance(text, str) or type(number) is not int or number < 0 or ids.setdefault(text, number) != number:
            case.findings.add("tokenizer-map", path, "An added token has no id of its own, or two.")
        elif rows is not None and number >= rows:
            case.findings.add(
                "token-range", path, f"The added token '{show(text, 40)}' has an id beyond the {rows:,} embeddings."
            )
        elif text not in STANDARD_SPECIAL:
            kind = "reads like a word" if text.removesuffix("</w>").strip().isalpha() else "is not one of CLIP's"
            case.findings.add("added-token", path, f"The added token '{show(text, MAX_SHOWN)}' {kind}.")
    if len(set(ids.values())) != len(ids):
        case.findings.add("tokenizer-map", folder, "Two tokens share one id.")


def _added_full(full: dict[str, Any] | None) -> Iterable[tuple[Any, Any]]:
    listed = (full or {}).get("added_tokens") or []
    if not isinstance(listed, list):
        return [(None, None)]
    return [(t.get("content"), t.get("id")) if isinstance(t, dict) else (None, None) for t in listed]


def _added_config(config: dict[str, Any]) -> Iterable[tuple[Any, Any]]:
    table = config.get("added_tokens_decoder") or {}
    if not isinstance(table, dict):
        return [(None, None)]
    return [(_content(t), int(k) if k.isdecimal() and k.isascii() and len(k) < 19 else None) for k, t in table.items()]


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]


def _content(value: Any) -> str | None:
    """The text of a token that is written as text or as a table."""
    inner = value.get("content") if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else None
