"""The tokenizer's files: do they map text to ids as CLIP's tokenizer does, one to one, and within the
embedding table?
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nightlatch.intake.carriers import hint
from nightlatch.intake.case import MAX_TOKENIZER_BYTES, Case
from nightlatch.intake.configs.classes import FAST_TOKENIZERS
from nightlatch.intake.tokenizer import bpe, normalizer, settings
from nightlatch.intake.tokenizer.bpe import STANDARD_SPECIAL, Pair, Table
from nightlatch.safetext import show
from nightlatch.terms import HintKind

MAX_ADDED = 1_000
MAX_SHOWN = 200
MAX_MERGES_BYTES = 2 << 20
_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")
_NOT_CLIPS = ("dropout", "continuing_subword_prefix", "ignore_merges", "byte_fallback")


def check(case: Case, folder: str, cls: str, rows: int | None, positions: int | None) -> None:
    """Findings for the tokenizer in ``folder``, whose files are staged; ``rows`` of the embedding table, None
    if unknown.
    """
    with uncollected():
        _check(case, folder, cls, rows, positions)


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection of garbage meanwhile: it would go through a vocabulary, a hundred thousand objects
    without a circle, again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check(case: Case, folder: str, cls: str, rows: int | None, positions: int | None) -> None:
    config = settings.check_config(case, f"{folder}/tokenizer_config.json", positions)
    settings.check_special_map(case, f"{folder}/special_tokens_map.json", config)
    full = (
        case.json(f"{folder}/tokenizer.json", limit=MAX_TOKENIZER_BYTES)
        if case.entry(f"{folder}/tokenizer.json")
        else None
    )
    vocab = (
        case.json(f"{folder}/vocab.json", limit=MAX_TOKENIZER_BYTES)
        if case.entry(f"{folder}/vocab.json")
        else None
    )
    for name in _FILES:
        if f"{folder}/{name}" in case.inventory.entries:
            case.stage(f"{folder}/{name}", f"{folder}/{name}")
    if full is None and vocab is None:
        case.findings.add("tokenizer-missing", folder)
        return
    tables: list[Table] = []
    if full is not None and (table := _from_full(case, f"{folder}/tokenizer.json", full, cls)):
        tables.append(table)
    merges = _merges_text(case, f"{folder}/merges.txt")
    if vocab is not None and merges is not None:
        tables.append(Table(f"{folder}/vocab.json", vocab, merges))
    sound = [bpe.check(case.findings, table, rows) for table in tables]
    if not all(sound):
        return
    if full is not None and tables and f"{folder}/merges.txt" in case.inventory.entries:
        _compare_merges(case, f"{folder}/merges.txt", tables[0].merges, merges or [])
    if len(tables) == 2 and tables[0].vocab != _without_added(tables[1].vocab, tables[0].vocab):
        case.findings.add(
            "tokenizer-rewrite",
            f"{folder}/tokenizer.json",
            "It disagrees with vocab.json about a token's id.",
            hint=hint(HintKind.TOKENIZER, folder),
        )
    if tables:
        _check_added(case, folder, full, config, tables[0].vocab, rows)


def _merges_text(case: Case, path: str) -> Sequence[Pair] | None:
    """The pairs of merges.txt, none if it is missing; None, with a finding, when it is defective."""
    data = (case.read(path, MAX_MERGES_BYTES) if case.entry(path) else None) or b""
    if len(data) > MAX_MERGES_BYTES or data.count(b"\n") > bpe.MAX_MERGES:
        sentence = f"It is longer than {MAX_MERGES_BYTES:,} bytes or {bpe.MAX_MERGES:,} lines."
        case.findings.add("config-bound", path, sentence)
        return None
    merges = bpe.merges_from_text(data)
    if merges is None:
        case.findings.add("tokenizer-map", path, "It is not a list of pairs.")
    return merges


def _compare_merges(case: Case, path: str, full: Sequence[Pair], text: Sequence[Pair]) -> None:
    """Two lists of merges: which of them is used depends on the program."""
    if isinstance(full, bpe.Known) and isinstance(text, bpe.Known):
        return
    full, text = list(full), list(text)
    if full == text:
        return
    odd = next(
        (b for a, b in zip(full, text, strict=False) if a != b),
        (full[len(text) :] or text[len(full) :] or [("", "")])[0],
    )
    sentence = f"It and tokenizer.json list other merges, e.g. '{show(''.join(odd), MAX_SHOWN)}'."
    case.findings.add(
        "tokenizer-rewrite", path, sentence, hint=hint(HintKind.TOKENIZER, path, ("".join(odd),))
    )


def _from_full(case: Case, path: str, full: dict[str, Any], cls: str) -> Table | None:
    """Vocabulary and merges of a tokenizer.json; everything around them is compared with CLIP's."""
    used = (
        "This tokenizer class uses it"
        if cls in FAST_TOKENIZERS
        else f"{cls} ignores it, other programs do not"
    )
    for found in normalizer.differences(full):
        rewrites = hint(HintKind.TOKENIZER, path, found.texts) if found.rule == "tokenizer-rewrite" else None
        case.findings.add(found.rule, path, f"{found.sentence} {used}.", hint=rewrites)
    model = full.get("model")
    if (
        not isinstance(model, dict)
        or model.get("type", "BPE") != "BPE"
        or not isinstance(model.get("vocab"), dict)
    ):
        case.findings.add("tokenizer-map", path, "Its model is not a byte-pair encoding with a vocabulary.")
        return None
    merges = bpe.merges_from_list(model.get("merges"))
    if merges is None:
        case.findings.add("tokenizer-map", path, "Its merges are not a list of pairs.")
        return None
    if len(merges) > bpe.MAX_MERGES:
        case.findings.add(
            "config-bound", path, f"It lists {len(merges):,} merges; at most {bpe.MAX_MERGES:,} are read."
        )
        return None
    if any(model.get(option) for option in _NOT_CLIPS) or model.get("end_of_word_suffix") != bpe.END:
        case.findings.add(
            "tokenizer-rewrite",
            path,
            f"Its byte-pair encoding has options that CLIP's has not. {used}.",
            hint=hint(HintKind.TOKENIZER, path),
        )
    return Table(path, model["vocab"], merges)


def _without_added(vocab: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """``vocab`` without the special tokens that the other file keeps in another place."""
    return {k: v for k, v in vocab.items() if k in other or k not in STANDARD_SPECIAL}


def _check_added(
    case: Case,
    folder: str,
    full: dict[str, Any] | None,
    config: dict[str, Any],
    vocab: Mapping[str, int],
    rows: int | None,
) -> None:
    """Added tokens of all three places where they may stand."""
    added = [(f"{folder}/tokenizer.json", *pair) for pair in _added_full(full)]
    added += [(f"{folder}/tokenizer_config.json", *pair) for pair in _added_config(config)]
    path = f"{folder}/added_tokens.json"
    separate = case.json(path) if case.entry(path) else None
    added += [(path, *pair) for pair in (separate or {}).items()]
    if len(added) > MAX_ADDED:
        case.findings.add(
            "config-bound", folder, f"It adds {len(added):,} tokens; at most {MAX_ADDED:,} are read."
        )
        return
    ids: dict[str, Any] = dict(vocab)
    for path, text, number in added:
        if (
            not isinstance(text, str)
            or type(number) is not int
            or number < 0
            or ids.setdefault(text, number) != number
        ):
            case.findings.add("tokenizer-map", path, "An added token has no id of its own, or two.")
        elif rows is not None and number >= rows:
            case.findings.add(
                "token-range",
                path,
                f"The added token '{show(text, 40)}' has an id beyond the {rows:,} embeddings.",
            )
        elif text not in STANDARD_SPECIAL:
            kind = (
                "reads like a word" if text.removesuffix("</w>").strip().isalpha() else "is not one of CLIP's"
            )
            tried = hint(HintKind.TOKEN, path, (text,))
            case.findings.add(
                "added-token", path, f"The added token '{show(text, MAX_SHOWN)}' {kind}.", hint=tried
            )
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
    return [
        (settings.content(t), int(k) if k.isdecimal() and k.isascii() and len(k) < 19 else None)
        for k, t in table.items()
    ]
