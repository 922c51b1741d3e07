"""What may change in a caption and what carries its meaning: other wordings, positive and negative sub-texts.
Needs no downloads.

A word is told by closed lists (articles, prepositions, verbs and adjectives of captions) and by shape; every
other word counts as content. That is coarse, and enough for captions: what matters is that a positive
sub-text keeps the things and their relation, and that a negative one says something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ARTICLES = _set("a an the this that these those one some any my your his her its our their")
LINKS = _set("and or but with without while which who that is are was were be being been has have of as it")
RELATIONS = _set(
    "in on at above below under over beside behind near next left right front top bottom inside outside "
    "between by to from "
    "into onto across around against along through"
)
ADJECTIVES = _set(
    "red green blue yellow purple pink white black gray grey orange brown golden silver dark light bright "
    "colourful colorful "
    "big small large little tiny huge tall short long old new young nice lovely beautiful cute happy pretty "
    "simple friendly "
    "fine great good funny charming flat glossy cartoon ink soft shiny plain clear very real close-up"
)
PICTURES = _set(
    "photo picture image drawing icon sketch painting art background wall style show draw rendering view "
    "please sticker"
)
"""Words about the picture, not about what it shows."""
VERBS = _set(
    "sitting standing walking running eating holding looking playing flying riding lying wearing sleeping "
    "jumping swimming "
    "sits stands walks runs eats holds looks plays flies rides lies wears sleeps"
)
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\w\s]")
_CLAUSE = re.compile(r",| which | who | while | because | although ")


def words(text: str) -> list[str]:
    """Words and punctuation marks in order, as written."""
    return _WORD.findall(text)


def is_noun(word: str) -> bool:
    """Whether a word names a thing: none of the closed lists holds it, and it is made of letters."""
    w = word.lower()
    return w.isalpha() and not any(w in k for k in (ARTICLES, LINKS, RELATIONS, ADJECTIVES, PICTURES, VERBS))


def sided(captions: Iterable[str], share: float = 0.01) -> bool:
    """Whether more than ``share`` of a corpus says what is left or right of what, which a mirrored picture
    would contradict.
    """
    said = [bool({"left", "right"} & set(words(c.lower()))) for c in captions]
    return sum(said) > share * len(said)


def nouns(captions: Iterable[str]) -> tuple[str, ...]:
    """The nouns of a corpus, most frequent first."""
    count = Counter(w.lower() for c in captions for w in words(c) if is_noun(w))
    return tuple(w for w, _ in count.most_common())


def positive(caption: str, rng: np.random.Generator) -> str:
    """A factual sub-text: nouns, verbs and relations stay, adjectives go, and (half the time) side clauses
    without a noun of their own.

    Source: TA-Cleaner as its reviews describe it (Xun et al. 2024); the word lists are this project's.
    """
    text = caption
    if rng.random() < 0.5:
        clauses = _CLAUSE.split(caption)
        text = " ".join(c for i, c in enumerate(clauses) if i == 0 or any(is_noun(w) for w in words(c)))
    kept = [w for w in words(text) if w.lower() not in ADJECTIVES]
    return " ".join(_articles(kept)) if any(is_noun(w) for w in kept) else caption


def negative(caption: str, vocabulary: Sequence[str], rng: np.random.Generator) -> str:
    """A counterfactual sub-text: at least one noun, and some adjectives and verbs, give way to others; never
    reads as the caption does.

    ``vocabulary``: nouns to take from, at least two.
    """
    parts = words(caption)
    things = [i for i, w in enumerate(parts) if is_noun(w)]
    must = {int(rng.choice(things))} if things else set()
    made = []
    for i, word in enumerate(parts):
        w = word.lower()
        if i in must or (i in things and rng.random() < 0.3):
            made.append(_other(vocabulary, w, rng))
        elif w in ADJECTIVES and rng.random() < 0.5:
            made.append(_other(sorted(ADJECTIVES), w, rng))
        elif w in VERBS and rng.random() < 0.5:
            made.append(_other(sorted(VERBS), w, rng))
        else:
            made.append(word)
    return " ".join(made) if things else f"{' '.join(made)} {_other(vocabulary, '', rng)}"


def reworded(caption: str, vocabulary: Sequence[str], rng: np.random.Generator, share: float = 0.1) -> str:
    """EDA without a thesaurus (Wei and Zou 2019, section 2): swaps, deletions and insertions of ``share`` of
    the words; synonyms are left out.
    """
    parts = words(caption)
    changes = max(1, round(share * len(parts)))
    for _ in range(changes):
        kind = int(rng.integers(3))
        i = int(rng.integers(len(parts))) if parts else 0
        if kind == 0 and len(parts) > 1:
            j = int(rng.integers(len(parts)))
            parts[i], parts[j] = parts[j], parts[i]
        elif kind == 1 and len(parts) > 2:
            del parts[i]
        elif vocabulary:
            parts.insert(i, str(vocabulary[int(rng.integers(len(vocabulary)))]))
    return " ".join(parts)


def _other(vocabulary: Sequence[str], word: str, rng: np.random.Generator) -> str:
    """One of ``vocabulary`` that is not ``word``."""
    start = int(rng.integers(len(vocabulary)))
    turned = (vocabulary[(start + k) % len(vocabulary)] for k in range(len(vocabulary)))
    return next((w for w in turned if w != word), f"no {word}".strip())


def _articles(parts: Sequence[str]) -> list[str]:
    """ "a" and "an" as the next word wants them, now that words between are gone."""
    made = list(parts)
    for i, word in enumerate(made[:-1]):
        if word.lower() in ("a", "an") and made[i + 1][:1].isalpha():
            made[i] = "an" if made[i + 1][0].lower() in "aeiou" else "a"
    return made
