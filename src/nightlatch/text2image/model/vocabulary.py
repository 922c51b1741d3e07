"""From text to token ids and back: what the rest of the project asks of a tokenizer, whatever kind it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch

Ids = tuple[torch.Tensor, ...]
"""What the text encoders read, one tensor (n, tokens) int64 for each of them."""
Tokens = tuple[int, ...]
"""A string as the tokens that typing it gives, without what frames a prompt."""


class Vocabulary(Protocol):
    """The tokens of a model's first tokenizer; strings are searched for in these. Further tokenizers read
    what they spell.
    """

    @property
    def size(self) -> int:
        """Number of token ids that the model has a row for."""

    @property
    def ordinary(self) -> Sequence[int]:
        """The ids of all tokens but those that frame every prompt, in order; what a file adds can be typed,
        too.
        """

    @property
    def known(self) -> Sequence[int]:
        """Those of the ``ordinary`` tokens that the model has a row for."""

    @property
    def alone(self) -> Sequence[int]:
        """Those of the ``known`` tokens that typing their own text gives back."""

    @property
    def pieces(self) -> Sequence[int]:
        """The other ``known`` tokens: parts of longer words."""

    @property
    def words(self) -> Sequence[int]:
        """Tokens that are whole words of letters."""

    def ends(self, token: int) -> bool:
        """Whether a word ends with ``token``."""

    def ids(self, texts: Sequence[str]) -> Ids:
        """The texts as the model reads them, framed and padded."""

    def framed(
        self, sequences: Sequence[Sequence[int]], context: str = "", *, before: str = "", padded: bool = True
    ) -> Ids:
        """Each sequence of tokens between ``before`` and ``context``, framed; without padding, all must have
        one length.
        """

    def typed(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens that typing each text gives."""

    def texts(self, sequences: Iterable[Sequence[int]]) -> list[str]:
        """The strings that a user would type for sequences of tokens."""

    def names(self, tokens: Sequence[int]) -> list[str]:
        """The tokens as the tokenizer's own files write them, for a record."""


def begins(vocabulary: Vocabulary, before: str = "") -> int:
    """The position in a framed row, after the text ``before``, at which what follows it begins."""
    (bare,), (longer,) = (
        vocabulary.framed([tokens], before=before, padded=False)[0] for tokens in ((), vocabulary.words[:1])
    )
    return int((bare != longer[: len(bare)]).int().argmax())
