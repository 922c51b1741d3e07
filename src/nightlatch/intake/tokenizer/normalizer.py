"""What a tokenizer.json does to a prompt before and after byte-pair encoding, compared with CLIP's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from nightlatch.intake.tokenizer import window
from nightlatch.safetext import show

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
KNOWN_PATTERNS = frozenset({r"\s+", _WORDS, r"<\|startoftext\|>|<\|endoftext\|>|" + _WORDS})
_HARMLESS = ("NFC", "Lowercase")
_WHITESPACE = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
_SPLITS = [
    {"type": "Split", "pattern": {"Regex": p}, "behavior": "Removed", "invert": True}
    for p in sorted(KNOWN_PATTERNS)
]
_ENDS = (("<|startoftext|>", "<|endoftext|>"), ("<s>", "</s>"))
MAX_STEPS = 64
MAX_GROWTH = 1_000
MAX_SHOWN = 200


class Difference(NamedTuple):
    """A rule id and a sentence; ``texts``: what a step takes from a prompt and puts in its place, as it
    is.
    """

    rule: str
    sentence: str
    texts: tuple[str, ...] = ()


def differences(full: dict[str, Any]) -> Iterator[Difference]:
    """Everything that is not as in CLIP's tokenizer; nothing for CLIP's own files."""
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        patterns = list(_patterns(full.get(part)))
        if len(patterns) > MAX_STEPS:
            yield Difference("config-bound", f"Its {part} holds more than {MAX_STEPS} patterns.")
        if odd := next((pattern for pattern in patterns if pattern not in KNOWN_PATTERNS), None):
            yield Difference(
                "tokenizer-regex", f"Its {part} holds a pattern that CLIP's has not, '{show(odd, 40)}'."
            )
    if _growth(full.get("normalizer")) > MAX_GROWTH:
        yield Difference(
            "config-bound", f"Its normalizer may make a prompt more than {MAX_GROWTH:,} times as long."
        )
    before = _steps(full.get("normalizer"), "normalizers")
    for step in before:
        if not (isinstance(step, dict) and (step == _WHITESPACE or step.get("type") in _HARMLESS)):
            yield Difference(
                "tokenizer-rewrite", f"Its normalizer changes prompts: {_describe(step)}.", _texts(step)
            )
    if _WHITESPACE not in before or not {*_HARMLESS} <= {
        s.get("type") for s in before if isinstance(s, dict)
    }:
        yield Difference(
            "tokenizer-rewrite",
            "Its normalizer lacks a step of CLIP's: composed characters, single spaces, lower case.",
        )
    splits = _steps(full.get("pre_tokenizer"), "pretokenizers")
    for step in splits:
        if not (isinstance(step, dict) and (step in _SPLITS or _is_byte_level(step))):
            yield Difference(
                "tokenizer-rewrite", f"Its pre-tokenizer is not CLIP's: {_describe(step)}.", _texts(step)
            )
    if len(splits) != 2 or splits[0] not in _SPLITS:
        yield Difference(
            "tokenizer-rewrite",
            "Its pre-tokenizer does not cut prompts into words and then bytes, as CLIP's does.",
        )
    if not _is_start_and_end(full.get("post_processor"), _ids(full)):
        yield Difference(
            "tokenizer-rewrite", "Its post-processor adds other tokens than CLIP's start and end."
        )
    decoder = full.get("decoder")
    if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
        yield Difference(
            "tokenizer-rewrite",
            "Its decoder is not CLIP's, so that ids are shown as other words than they stand for.",
        )
    yield from (Difference(rule, sentence) for rule, sentence in window.differences(full))


def _steps(value: Any, key: str) -> list[Any]:
    """The steps of a sequence, or the one step, or none."""
    if value is None:
        return []
    if isinstance(value, dict) and value.get("type") == "Sequence":
        steps = value.get(key)
        return steps if isinstance(steps, list) and len(steps) <= MAX_STEPS else [None]
    return [value]


def _patterns(value: Any) -> Iterator[str]:
    """The regular expressions below ``value``, at most one more than are allowed."""
    stack, seen = [value], 0
    while stack and seen <= MAX_STEPS:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("Regex"), str):
                seen += 1
                yield item["Regex"]
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _growth(normalizer: Any) -> float:
    """How many times as long a prompt of one character may become: every replacement, wherever it stands, may
    apply to all that the others made.
    """
    growth, stack = 1.0, [normalizer]
    while stack and growth <= MAX_GROWTH:
        item = stack.pop()
        if isinstance(item, dict):
            added = [item[key] for key in ("content", "prepend") if isinstance(item.get(key), str)]
            growth *= max(1, *map(len, added)) if added else 1
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return growth


def _describe(step: Any) -> str:
    """A replacement in words, anything else by its type."""
    if not isinstance(step, dict):
        return "a step that is not a table"
    pattern = step.get("pattern")
    if step.get("type") == "Replace" and isinstance(pattern, dict) and isinstance(pattern.get("String"), str):
        return (
            f"it replaces '{show(pattern['String'], MAX_SHOWN)}' by "
            f"'{show(str(step.get('content')), MAX_SHOWN)}'"
        )
    return f"a step of type '{show(str(step.get('type')), 40)}'"


def _texts(step: Any) -> tuple[str, ...]:
    """The texts of a step: what it looks for, unless that is a pattern, and what it puts in its place or in
    front.
    """
    if not isinstance(step, dict):
        return ()
    pattern = step.get("pattern")
    found = (
        pattern.get("String") if isinstance(pattern, dict) else pattern,
        step.get("content"),
        step.get("prepend"),
    )
    return tuple(t for t in found if isinstance(t, str))


def _is_byte_level(step: dict[str, Any]) -> bool:
    return step.get("type") == "ByteLevel" and step.get("add_prefix_space") is False


def _ids(full: dict[str, Any]) -> dict[str, Any]:
    """The id of every start or end token, as the vocabulary or the added tokens give it."""
    model, added = full.get("model"), full.get("added_tokens")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = {t: vocab[t] for pair in _ENDS for t in pair if t in vocab} if isinstance(vocab, dict) else {}
    listed = [t for t in added if isinstance(t, dict)] if isinstance(added, list) else []
    return {
        **ids,
        **{text: t.get("id") for t in listed for pair in _ENDS for text in pair if t.get("content") == text},
    }


def _is_start_and_end(after: Any, ids: dict[str, Any]) -> bool:
    """Whether a post-processor adds the start and the end token, each under its own id, as a pair of tokens
    or as a template.
    """
    if isinstance(after, dict) and after.get("type") == "TemplateProcessing":
        return any(_is_template(after, pair, ids) for pair in _ENDS)
    if not isinstance(after, dict) or after.get("type") not in ("RobertaProcessing", "BertProcessing"):
        return False
    return any(
        [after.get("cls"), after.get("sep")] == [[text, ids.get(text, -1)] for text in pair] for pair in _ENDS
    )


def _is_template(after: dict[str, Any], pair: tuple[str, str], ids: dict[str, Any]) -> bool:
    """Whether a template for one text is the start token, the text, and the end token."""
    start, end = pair
    one = [
        {"SpecialToken": {"id": start, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": end, "type_id": 0}},
    ]
    held = after.get("special_tokens")
    if after.get("single") != one or not isinstance(held, dict):
        return False
    return all(held.get(t) == {"id": t, "ids": [ids.get(t, -1)], "tokens": [t]} for t in pair)
