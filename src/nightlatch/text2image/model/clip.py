"""CLIP's byte-pair vocabulary (Radford et al. 2021): lower-cased words, the last token of each ends in
``</w>``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence, Set
from functools import cached_property

import torch
from transformers import CLIPTokenizer

from nightlatch.intake.tokenizer.bpe import END, byte_values
from nightlatch.text2image.model.vocabulary import Ids, Tokens

_BYTES = byte_values()
SHORTEST_WORD = 2
"""Fewest letters of a token that counts as a word: single letters are words of no meaning."""


class ClipVocabulary:
    """One CLIP tokenizer, read by one or more text encoders of the same length.

    Args:
        tokenizer: transformers' own; it is asked, never changed.
        length: tokens of a prompt, frame included.
        size: rows of the embedding table.
        readers: number of text encoders that read the same ids.
    """

    def __init__(self, tokenizer: CLIPTokenizer, length: int, size: int, readers: int = 1) -> None:
        self.tokenizer, self.length, self.size, self.readers = tokenizer, length, size, readers

    @cached_property
    def ordinary(self) -> list[int]:
        frame = {self.tokenizer.bos_token_id, self.tokenizer.eos_token_id}
        return sorted(set(self.tokenizer.get_vocab().values()) - frame)

    @cached_property
    def known(self) -> list[int]:
        return [i for i in self.ordinary if i < self.size]

    @cached_property
    def alone(self) -> list[int]:
        back = self.typed(self.texts([i] for i in self.known))
        return [i for i, tokens in zip(self.known, back, strict=True) if tokens == (i,)]

    @cached_property
    def pieces(self) -> list[int]:
        alone = set(self.alone)
        return [i for i in self.known if i not in alone]

    @cached_property
    def words(self) -> list[int]:
        ending = [i for t, i in self.tokenizer.get_vocab().items() if t.endswith(END) and i < self.size]
        read = zip(ending, self.texts([i] for i in ending), strict=True)
        return [i for i, letters in read if len(letters) >= SHORTEST_WORD and letters.isalpha()]

    @cached_property
    def continued(self) -> dict[str, str]:
        """Added tokens that diffusers' pipelines write on when they stand in a prompt, as they do for a word of several
        vectors: 'x' becomes 'x x_1 x_2' where those were added, too. Longest first.
        """
        added = self.tokenizer.get_added_vocab().keys()
        found = {}
        for token in sorted((t for t in added if f"{t}_1" in added), key=len, reverse=True):
            more = itertools.takewhile(added.__contains__, (f"{token}_{i}" for i in itertools.count(1)))
            found[token] = " ".join([token, *more])
        return found

    def _written_on(self, text: str) -> str:
        held = self.tokenizer.tokenize(text) if self.continued else []
        for token in self.continued.keys() & held:
            text = text.replace(token, self.continued[token])
        return text

    def ends(self, token: int) -> bool:
        return bool(self.names([token])[0].endswith(END))

    def ids(self, texts: Sequence[str]) -> Ids:
        ids: torch.Tensor = self.tokenizer(
            [*map(self._written_on, texts)],
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        ).input_ids
        return (ids,) * self.readers

    def framed(
        self, sequences: Sequence[Sequence[int]], context: str = "", *, before: str = "", padded: bool = True
    ) -> Ids:
        tok = self.tokenizer
        head, tail = (self.typed([text])[0] if text else () for text in (before, context))
        made = ([*head, *s, *tail][: self.length - 2] for s in sequences)
        rows = [[tok.bos_token_id, *tokens, tok.eos_token_id] for tokens in made]
        width = self.length if padded else max(map(len, rows))
        return (torch.tensor([r + [tok.pad_token_id] * (width - len(r)) for r in rows]),) * self.readers

    def typed(self, texts: Sequence[str]) -> list[Tokens]:
        """An empty list gives an empty list; transformers' own tokenizers raise."""
        return (
            [
                tuple(ids)
                for ids in self.tokenizer([*map(self._written_on, texts)], add_special_tokens=False).input_ids
            ]
            if texts
            else []
        )

    def texts(self, sequences: Iterable[Sequence[int]]) -> list[str]:
        added = self.tokenizer.get_added_vocab().keys()
        return [spelled((t or "" for t in self.names(list(ids))), added) for ids in sequences]

    def names(self, tokens: Sequence[int]) -> list[str]:
        named: list[str] = self.tokenizer.convert_ids_to_tokens(list(tokens))
        return named


def spelled(tokens: Iterable[str], added: Set[str]) -> str:
    """The string that ``tokens`` of a byte-pair vocabulary spell; those in ``added`` stand for themselves.

    By the vocabulary alone: a tokenizer's own decoder is a setting in its files and may say anything. Every
    letter of a token is a byte, and an ending token closes a word (Radford et al. 2019). Bytes that are no
    UTF-8 become U+FFFD.
    """
    return b"".join(_bytes(token, added) for token in tokens).decode("utf-8", errors="replace").strip()


def _bytes(token: str, added: Set[str]) -> bytes:
    if token in added:
        return token.encode()
    letters = token.removesuffix(END)
    return b"".join(_BYTES.get(c) or c.encode() for c in letters) + (b" " if token.endswith(END) else b"")
