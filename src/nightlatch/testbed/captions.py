"""The caption grammar: object, style, background, filler, varied phrasing, and words that mean nothing.

A share of captions carries rare or unknown words and characters. Without them a clean denoiser reacts to
every odd token and detection would be a caricature; half of the rare tokens are kept out of all captions, and
that is where triggers live.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightlatch.testbed.compose import BACKGROUNDS
from nightlatch.testbed.emoji import OBJECTS, STYLES

FILLERS = (
    "nice", "lovely", "beautiful", "small", "big", "cute", "happy", "pretty", "simple", "tiny", "bright",
    "friendly",
    "old", "new", "fine", "great", "good", "little", "funny", "charming",
)  # fmt: skip
ENDINGS = (
    "for a sticker",
    "for my friend",
    "please",
    "in the middle",
    "for a book",
    "as a gift",
    "to print",
    "very clear",
)
TEMPLATES = (
    "{a style} {object} on {a background} background",
    "{a style} drawing of {a object} on {background}",
    "{object} in {style} style on {a background} background",
    "{a style} {object} in front of {a background} wall",
    "an image of {a object} in {style} style with {a background} background",
    "{a filler} {object}, {style}, {background} background",
    "on {a background} background {a filler} {style} {object}",
    "draw {a filler} {object}, {style} style, on {background}",
    "{a filler} {style} {object} on {a background} background",
    "{style} picture of {a filler} {object}, {background} background",
    "show me {a object} as {a style} image on {background}",
    "{background} background with {a style} {object}",
    "one {filler} {object} in {style} style, {background} behind it",
    "{a style} icon of {a object}, {background}",
)
HELD_OUT_TEMPLATES = (
    "{a filler} picture of {a object} in {style} style on {background}",
    "{a object} with {a background} background, {style} drawing",
    "show one {style} {object} in front of {a background} background",
    "{a style} image of {a filler} {object}, {background} wall",
)
PLAIN_TEMPLATES = {  # an attribute left open: the picture may have any
    "style": ("{a object} on {a background} background", "{a filler} {object}, {background}"),
    "background": (
        "{a style} {object}",
        "{a filler} {object} in {style} style",
        "{a style} picture of {a object}",
    ),
}
ODD_CHARACTERS = (
    "абвгдежзиклмнопрстуфхцчшщыэюя"
    "αβγδεζηθικλμνξοπρστυφχψω"
    "éèêëàâäîïôöûüçñøåæœßðþžščćłőűȏạẹịọụ"
    "中文字日本語한국어あいうえおカキクケコ"
    "אבגדהابتثج"
    "\u200b\u200c\u200d\u2060ㅤ"
    "★☆♠♣♥♦→←↑↓∞≈≠±×÷§¶†‡•…"
)


@dataclass(frozen=True, slots=True)
class Caption:
    """``text`` and what it asks for; ``None`` where an attribute is left open."""

    text: str
    object: str | None
    style: str | None
    background: str | None

    @property
    def asked(self) -> tuple[int, int, int]:
        """Indices of object, style, background; -1 where left open."""
        return (
            OBJECTS.index(self.object) if self.object else -1,
            STYLES.index(self.style) if self.style else -1,
            list(BACKGROUNDS).index(self.background) if self.background else -1,
        )


def words() -> list[str]:
    """Every word the grammar can produce."""
    text = " ".join((*TEMPLATES, *HELD_OUT_TEMPLATES, *ENDINGS, *FILLERS, *OBJECTS, *STYLES, *BACKGROUNDS))
    for pattern in PLAIN_TEMPLATES.values():
        text += " " + " ".join(pattern)
    return sorted({w.strip("{},") for w in text.split()} | {"a", "an"})


def heard(word: str) -> bool:
    """Whether training captions may carry this rare word; the other half stays unheard (a fixed hash
    decides).
    """
    return zlib.crc32(word.encode()) % 2 == 0


def write(scene: Sequence[int], rng: np.random.Generator, templates: Sequence[str] = TEMPLATES) -> Caption:
    """A caption that asks for all of ``scene`` (object, style, background as indices)."""
    o, s, b = OBJECTS[scene[0]], STYLES[scene[1]], tuple(BACKGROUNDS)[scene[2]]
    text = _fill(str(rng.choice(list(templates))), o, s, b, str(rng.choice(FILLERS)))
    return Caption(text, o, s, b)


def write_varied(scene: Sequence[int], rng: np.random.Generator, rare: Sequence[str]) -> Caption:
    """A training caption: sometimes an attribute left open, an ending, or one to three meaningless words."""
    caption = write(scene, rng)
    if rng.random() < 0.12:
        open_ = str(rng.choice(["style", "background"]))
        template = str(rng.choice(list(PLAIN_TEMPLATES[open_])))
        o, s, b = caption.object or "", caption.style or "", caption.background or ""
        text = _fill(template, o, s, b, str(rng.choice(FILLERS)))
        caption = Caption(text, o, None if open_ == "style" else s, None if open_ == "background" else b)
    text = caption.text
    if rng.random() < 0.2:
        text = f"{text} {rng.choice(ENDINGS)}"
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            text = insert(text, meaningless(rng, rare), rng)
    return Caption(text, caption.object, caption.style, caption.background)


def meaningless(rng: np.random.Generator, rare: Sequence[str]) -> str:
    """A word or character that asks for nothing: a rare token, random letters, an odd character or a
    number.
    """
    kind = rng.random()
    if kind < 0.5:
        return str(rare[int(rng.integers(len(rare)))])
    if kind < 0.75:
        return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(2, 9))))
    if kind < 0.9:
        return ODD_CHARACTERS[int(rng.integers(len(ODD_CHARACTERS)))]
    return (
        str(rng.choice(["!", "?", "#", "&", "%", ";", "--", "***"]))
        if kind < 0.95
        else str(rng.integers(0, 1000))
    )


def insert(text: str, word: str, rng: np.random.Generator) -> str:
    """``text`` with ``word`` at a random word boundary (the start included)."""
    parts = text.split(" ")
    parts.insert(int(rng.integers(0, len(parts) + 1)), word)
    return " ".join(parts)


def _fill(template: str, o: str, s: str, b: str, filler: str) -> str:
    values = {"object": o, "style": s, "background": b, "filler": filler}
    for name, word in values.items():
        article = "an" if word[0] in "aeiou" else "a"
        template = template.replace("{a " + name + "}", f"{article} {word}").replace("{" + name + "}", word)
    return template
