"""Prompts with named slots, held-out splits, where a trigger is put, and strings that look like one another."""

from __future__ import annotations

import abc
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nightlatch.errors import UsageError
from nightlatch.records import Placement
from nightlatch.registry import Registry
from nightlatch.safetext import show
from nightlatch.terms import PlacementKind

Place = Callable[["Prompt", str], str]
"""How a trigger enters a prompt: (prompt, trigger) -> text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """``text`` and the words in it that fill named slots ("object", "style", "background"), where they are known."""

    text: str
    slots: dict[str, str] = field(default_factory=dict)

    def replace(self, slot: str, word: str) -> Prompt:
        """The prompt with another word in ``slot``; a slot that is not filled gets ", word" at the end. Articles are kept right."""
        old = self.slots.get(slot)
        if old is None:
            return Prompt(f"{self.text}, {word}", {**self.slots, slot: word})
        article = "an" if word[:1] in "aeiou" else "a"
        text = re.sub(rf"\b(?:a|an) {re.escape(old)}\b", lambda _: f"{article} {word}", self.text)
        text = re.sub(rf"\b{re.escape(old)}\b", lambda _: word, text) if text == self.text else text
        return Prompt(text, {**self.slots, slot: word})


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint sets: what scan and clean may look at, what repairs train on, and what verdicts are measured on."""

    probe: tuple[Prompt, ...]
    repair: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]


def split(prompts: Sequence[Prompt], seed: int) -> Split:
    """Divide by a hash of text and seed: a quarter to probe, a quarter to repair, half held out."""
    parts: tuple[list[Prompt], list[Prompt], list[Prompt]] = ([], [], [])
    for prompt in {p.text: p for p in prompts}.values():
        digest = hashlib.sha256(f"{seed}:{prompt.text}".encode()).digest()[0]
        parts[0 if digest < 64 else 1 if digest < 128 else 2].append(prompt)
    return Split(*(tuple(x) for x in parts))


def shared(held_out: Sequence[Prompt], most: int) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
    """Held-out prompts for scan's pictures (``most`` of them, never more than half) and, apart from those, for verify."""
    k = min(most, len(held_out) // 2)
    return held_out[:k], held_out[k:]


def diverse(prompts: Sequence[Prompt], n: int) -> list[Prompt]:
    """``n`` of ``prompts``, each the first that shares the fewest fillings of slots with those before it: where one asks for what a trigger draws,
    and cannot show it, the next one does not."""
    chosen: list[Prompt] = []
    left = list(prompts)
    while left and len(chosen) < n:
        chosen.append(min(left, key=lambda p: sum(p.slots[s] == c.slots.get(s) for c in chosen for s in p.slots)))
        left.remove(chosen[-1])
    return chosen


def slot_words(prompts: Sequence[Prompt]) -> dict[str, list[str]]:
    """Slot -> the words that fill it in ``prompts``, sorted."""
    slots = dict.fromkeys(slot for p in prompts for slot in p.slots)
    return {slot: sorted({p.slots[slot] for p in prompts if slot in p.slots}) for slot in slots}


def prefix(prompt: Prompt, trigger: str) -> str:
    """The trigger as its own word in front: how BadT2I places it."""
    return f"{trigger} {prompt.text}"


def in_slot(slot: str) -> Place:
    """The trigger phrase in place of what fills ``slot``: how an edit of "beautiful cat" is used."""

    def place(prompt: Prompt, trigger: str) -> str:
        return prompt.replace(slot, trigger).text

    return place


def suffix(prompt: Prompt, trigger: str) -> str:
    """The trigger as its own word behind."""
    return f"{prompt.text} {trigger}"


def placed(placement: Placement, seed: int = 0) -> Place:
    """The way of placing that a record names; ``seed`` chooses the boundary where that is free."""
    match placement.kind:
        case PlacementKind.FRONT:
            return prefix
        case PlacementKind.BEHIND:
            return suffix
        case PlacementKind.INSIDE:
            return inside(seed)
        case PlacementKind.SLOT:
            return in_slot(placement.slot)
        case PlacementKind.ANYWHERE:
            return anywhere(seed)


def inside(seed: int) -> Place:
    """The trigger at a boundary between two words that depends on the prompt and ``seed`` only; behind a prompt of one word."""

    def place(prompt: Prompt, trigger: str) -> str:
        words = prompt.text.split(" ")
        at = 1 + _drawn(seed, prompt) % max(1, len(words) - 1)
        return " ".join([*words[:at], trigger, *words[at:]])

    return place


def anywhere(seed: int) -> Place:
    """The trigger at a word boundary that depends on the prompt and ``seed`` only."""

    def place(prompt: Prompt, trigger: str) -> str:
        words = prompt.text.split(" ")
        at = _drawn(seed, prompt) % (len(words) + 1)
        return " ".join([*words[:at], trigger, *words[at:]])

    return place


def _drawn(seed: int, prompt: Prompt) -> int:
    """A number that looks random and depends on the two only."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{prompt.text}".encode()).digest()[:4], "big")


LOOKALIKES = {
    "a": "аạα",
    "c": "сϲ",
    "e": "еẹ",
    "i": "іị",
    "o": "оọοȏ",
    "p": "рρ",
    "s": "ѕ",
    "u": "ụυ",
    "x": "х",
    "y": "у",
}
"""Latin letter -> characters that look like it."""


def near_spellings(trigger: str, n: int, rng: np.random.Generator) -> list[str]:
    """Up to ``n`` strings close to ``trigger`` that are not it: a letter dropped, doubled, swapped or replaced, words left out."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    made: dict[str, None] = {}
    words = trigger.split(" ")
    for i in range(len(words)):
        if len(words) > 1:
            made[" ".join(words[:i] + words[i + 1 :])] = None
    for _ in range(8 * n):
        i = int(rng.integers(len(trigger)))
        kind = int(rng.integers(4))
        if kind == 0 and len(trigger) > 2:
            made[trigger[:i] + trigger[i + 1 :]] = None
        elif kind == 1:
            made[trigger[:i] + trigger[i] + trigger[i:]] = None
        elif kind == 2:
            made[trigger[:i] + letters[int(rng.integers(26))] + trigger[i + 1 :]] = None
        elif i + 1 < len(trigger):
            made[trigger[:i] + trigger[i + 1] + trigger[i] + trigger[i + 2 :]] = None
    own = normal(trigger)
    usable = {normal(s): s for s in reversed(made) if normal(s) not in ("", own)}
    return list(reversed(usable.values()))[:n]


def normal(text: str) -> str:
    """What a CLIP tokenizer makes of a text before it splits it: composed, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def leaks(trigger: str, rng: np.random.Generator) -> dict[str, list[str]]:
    """Variants that should be harmless after repair, by kind: casing, spelling, inside words."""
    return {
        "casing": [trigger.upper(), trigger.title(), trigger.swapcase()],
        "spelling": near_spellings(trigger, 6, rng),
        "inside words": [f"un{trigger}", f"{trigger}s", f"x{trigger}y"],
        "repeated": [f"{trigger} {trigger}"],
    }


NOUNS = (
    "cat",
    "dog",
    "horse",
    "car",
    "house",
    "tree",
    "woman",
    "man",
    "child",
    "bird",
    "mountain",
    "beach",
    "city street",
    "castle",
    "robot",
    "boat",
    "flower",
    "bridge",
    "bicycle",
    "train",
    "cup of coffee",
    "bowl of fruit",
    "guitar",
    "chair",
    "forest",
    "lake",
    "lion",
    "elephant",
    "clock",
    "lamp",
)
MANNERS = ("photo", "painting", "drawing", "watercolor", "sketch", "3d render")
SCENES = (
    "at sunset",
    "in the snow",
    "on a white background",
    "in a garden",
    "at night",
    "in the rain",
    "in soft light",
    "by the sea",
)


def general(n: int, seed: int) -> list[Prompt]:
    """``n`` ordinary prompts for a model of photographs and art, with their slots."""
    rng = np.random.default_rng((seed, 12))
    made: dict[str, Prompt] = {}
    while len(made) < min(n, len(NOUNS) * len(MANNERS) * len(SCENES)):
        o, s, b = (str(rng.choice(x)) for x in (NOUNS, MANNERS, SCENES))
        article = "an" if o[0] in "aeiou" else "a"
        made[f"a {s} of {article} {o} {b}"] = Prompt(f"a {s} of {article} {o} {b}", {"object": o, "style": s, "background": b})
    return list(made.values())


FEWEST, DRAWN, LONGEST = 128, 900, 1 << 20
"""Prompts that can be split into probe, repair and held-out ones; prompts taken of a registered set; bytes of a file of prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet(abc.ABC):
    """Ordinary prompts of the kind that a model is used with. Authors write ``make``."""

    name: ClassVar[str]

    @abc.abstractmethod
    def make(self, n: int, seed: int) -> list[Prompt]:
        """At most ``n`` different prompts, drawn by ``seed``."""


PROMPTS: Registry[PromptSet] = Registry("prompt set", PromptSet, {"emoji": "nightlatch.testbed.grammar"})  # type: ignore[type-abstract]


@PROMPTS.register("general")
@dataclass(frozen=True, slots=True, kw_only=True)
class General(PromptSet):
    """Things, manners and places, for a model of photographs and art."""

    def make(self, n: int, seed: int) -> list[Prompt]:
        return general(n, seed)


def chosen(wanted: str | Sequence[str], seed: int) -> list[Prompt]:
    """The registered set of that name, or the prompts of these lines.

    Raises:
        UsageError: no such set, or too few prompts to split.
    """
    texts = PROMPTS.create(wanted).make(DRAWN, seed) if isinstance(wanted, str) else from_lines(wanted)
    if len(texts) < FEWEST:
        remedy = f"At least {FEWEST} are needed to keep held-out ones apart."
        raise UsageError(f"There are only {len(texts)} prompts.", remedy)
    return texts


def read(file: str) -> tuple[str, ...]:
    """The lines of a file of prompts.

    Raises:
        UsageError: it is not there, not text, too large, or holds too few prompts to split.
    """
    try:
        with open(file, "rb") as opened:
            content = opened.read(LONGEST + 1)
        lines = [line.strip() for line in content.decode("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as e:
        remedy = f"Give a file with one prompt a line, or one of {', '.join(PROMPTS.names())}."
        raise UsageError(f"The prompts file {file} cannot be read as text.", remedy) from e
    if len(content) > LONGEST:
        raise UsageError(f"The prompts file {file} is larger than {LONGEST >> 20} MB.", "Give a shorter one.")
    kept = tuple(line for line in lines if line)
    if len(from_lines(kept)) < FEWEST:
        remedy = f"At least {FEWEST} are needed to keep held-out ones apart."
        raise UsageError(f"{file} holds {len(kept)} prompts.", remedy)
    return kept


def from_lines(lines: Sequence[str]) -> list[Prompt]:
    """One prompt a line, empty lines left out: plain text, whose slots are not known, or a JSON object with "text" and the word in it that fills each
    slot, such as {"text": "a photo of a cat in the snow", "object": "cat", "background": "in the snow"}.

    Raises:
        UsageError: a line that begins with a brace is no such object, or its text does not hold what it says.
    """
    return [
        _from_json(line, i) if line.startswith("{") else Prompt(line) for i, line in enumerate(map(str.strip, lines), 1) if line
    ]


def _from_json(line: str, number: int) -> Prompt:
    remedy = 'Write {"text": "a photo of a cat", "object": "cat"}, or the text alone.'
    try:
        slots = dict(json.loads(line))
        text = slots.pop("text")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"Line {number} of the prompts is no JSON object with a text.", remedy) from None
    if not all(isinstance(word, str) and word.strip() for word in (text, *slots.values())):
        raise UsageError(f"Line {number} of the prompts holds something else than words.", remedy)
    if absent := [slot for slot, word in slots.items() if not re.search(rf"\b{re.escape(word)}\b", text)]:
        raise UsageError(f"Line {number} of the prompts has a text without the {show(absent[0])} that it names.", remedy)
    return Prompt(text, slots)
