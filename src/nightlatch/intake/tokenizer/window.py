"""How a tokenizer.json cuts a prompt off and fills it up, where the caller does not say, compared with CLIP's
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nightlatch.intake.tokenizer.bpe import STANDARD_SPECIAL
from nightlatch.safetext import show

MAX_LENGTH = 100_000
_CUT = {"direction": "Right", "strategy": "LongestFirst", "stride": 0}
_FILL = {"direction": "Right", "pad_to_multiple_of": None, "pad_type_id": 0}


def differences(full: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Rule id and sentence for everything that is not as in CLIP's tokenizer; both parts may be null."""
    for part, usual in (("truncation", _CUT), ("padding", _FILL)):
        table = full.get(part)
        if table is None:
            continue
        if not isinstance(table, dict):
            yield "tokenizer-map", f"Its {part} is not a table."
            continue
        length = table.get("max_length", 1) if part == "truncation" else _fixed(table.get("strategy"))
        if type(length) is not int or not 1 <= length <= MAX_LENGTH:
            yield (
                "config-bound",
                f"Its {part} does not ask for 1 to {MAX_LENGTH:,} tokens, but for {show(str(length), 30)}.",
            )
        if any(table.get(key, value) != value for key, value in usual.items()):
            yield (
                "tokenizer-rewrite",
                f"Its {part} does not act on the end of a prompt alone, as CLIP's does.",
            )
    fill = full.get("padding")
    if isinstance(fill, dict) and not _is_standard(full, fill.get("pad_token"), fill.get("pad_id")):
        yield (
            "tokenizer-rewrite",
            f"Its padding is a word or has another id: '{show(str(fill.get('pad_token')), 40)}'.",
        )


def _fixed(strategy: Any) -> Any:
    """The length that a strategy of padding asks for; 1 where it follows the longest prompt."""
    return (
        strategy.get("Fixed") if isinstance(strategy, dict) else 1 if strategy == "BatchLongest" else strategy
    )


def _is_standard(full: dict[str, Any], text: Any, number: Any) -> bool:
    """Whether ``text`` is one of the usual special tokens and has the id ``number``."""
    if not isinstance(text, str) or text not in STANDARD_SPECIAL:
        return False
    model, added = full.get("model"), full.get("added_tokens")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    known = [vocab[text]] if isinstance(vocab, dict) and text in vocab else []
    known += (
        [t.get("id") for t in added if isinstance(t, dict) and t.get("content") == text]
        if isinstance(added, list)
        else []
    )
    return number in known
