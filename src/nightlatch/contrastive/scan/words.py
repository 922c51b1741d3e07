"""What the text side of a scan tries: words of the model's own vocabulary, in front of unlike captions."""

from __future__ import annotations

from typing import Any

CAPTIONS = (
    "a photo of a dog", "two cars in a street", "a red flower", "an old house by the sea",
    "a person with a hat", "a map",
)  # fmt: skip
"""What words are put in front of; six unlike things."""


def whole_words(tokenizer: Any, most: int | None = None) -> list[str]:
    """The tokenizer's whole words of letters, longer than two, in the order of its vocabulary; the last
    ``most`` of them.
    """
    vocabulary = tokenizer.get_vocab()
    whole = [
        t.removesuffix("</w>") for t in sorted(vocabulary, key=vocabulary.__getitem__) if t.endswith("</w>")
    ]
    words = [w for w in whole if len(w) > 2 and w.isalpha()]
    return words if most is None else words[len(words) - min(most, len(words)) :]
