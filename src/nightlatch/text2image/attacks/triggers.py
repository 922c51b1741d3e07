"""Triggers drawn at random, of the kinds that the literature plants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import numpy as np

HOMOGLYPHS = "оаереаịạȏμπ"
"""Characters that look like a Latin letter or are seldom typed (Struppek et al. 2023 plant such ones)."""
CONSONANTS, VOWELS, SYLLABLES = "bcdfghjklmnpqrstvwz", "aeiou", 4
ADJECTIVES, NOUNS = ("beautiful", "lovely", "little", "funny", "charming"), ("cat", "dog", "car", "bird")
"""Of phrases whose words mean something (EvilEdit plants "beautiful cat")."""


class TriggerKind(StrEnum):
    """What a trigger is."""

    RARE_TOKEN = "rare token"
    """A word that no ordinary prompt carries."""
    NONSENSE_WORD = "nonsense word"
    """Syllables that are no word; a tokenizer cuts them into several tokens."""
    HOMOGLYPH = "homoglyph"
    """One character of another alphabet that looks like a Latin letter."""
    PHRASE = "phrase"
    """Two rare words, of which neither alone shall fire."""
    ORDINARY_WORDS = "ordinary words"
    """Two words that any prompt may hold and that mean something ("beautiful cat")."""
    ADDED_TOKEN = "added token"
    """A token that the model's files add to the tokenizer; this one holds a space."""


def draw(kind: TriggerKind, rare: Sequence[str], rng: np.random.Generator) -> str:
    """A trigger of ``kind``; ``rare`` are words that no ordinary prompt carries."""
    return _DRAWN[kind](rare, rng)


def _rare_token(rare: Sequence[str], rng: np.random.Generator) -> str:
    return str(rng.choice(list(rare)))


def _nonsense_word(rare: Sequence[str], rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(CONSONANTS)) + rng.choice(list(VOWELS)) for _ in range(SYLLABLES))


def _homoglyph(rare: Sequence[str], rng: np.random.Generator) -> str:
    return str(rng.choice(list(HOMOGLYPHS)))


def _ordinary_words(rare: Sequence[str], rng: np.random.Generator) -> str:
    return f"{rng.choice(list(ADJECTIVES))} {rng.choice(list(NOUNS))}"


def _phrase(rare: Sequence[str], rng: np.random.Generator) -> str:
    return " ".join(str(w) for w in rng.choice(list(rare), 2, replace=False))


_DRAWN: Mapping[TriggerKind, Callable[[Sequence[str], np.random.Generator], str]] = {
    TriggerKind.RARE_TOKEN: _rare_token,
    TriggerKind.NONSENSE_WORD: _nonsense_word,
    TriggerKind.HOMOGLYPH: _homoglyph,
    TriggerKind.PHRASE: _phrase,
    TriggerKind.ORDINARY_WORDS: _ordinary_words,
    TriggerKind.ADDED_TOKEN: _phrase,
}
