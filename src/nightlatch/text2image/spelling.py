"""From tokens back to text, by the vocabulary alone: a tokenizer's own decoder is a setting in its files and may say anything."""

from __future__ import annotations

from collections.abc import Iterable, Set

from nightlatch.intake.tokenizer.bpe import END, byte_values

_BYTES = byte_values()


def typed(tokens: Iterable[str], added: Set[str]) -> str:
    """The string that ``tokens`` of a byte-pair vocabulary spell; those in ``added`` stand for themselves.

    Every letter of a token is a byte, and an ending token closes a word (Radford et al. 2019, GPT-2; Radford et al. 2021, CLIP). Bytes that
    are no UTF-8 become U+FFFD.
    """
    return b"".join(_spelled(token, added) for token in tokens).decode("utf-8", errors="replace").strip()


def _spelled(token: str, added: Set[str]) -> bytes:
    if token in added:
        return token.encode()
    letters = token.removesuffix(END)
    return b"".join(_BYTES.get(c) or c.encode() for c in letters) + (b" " if token.endswith(END) else b"")
