"""Sets of ordinary prompts: registered ones by name, or a user's own file with one a line."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightlatch.errors import UsageError
from nightlatch.registry import Registry
from nightlatch.text2image.prompts.prompt import Prompt, from_lines

FEWEST, DRAWN, LONGEST = 128, 900, 1 << 20
"""Prompts that can be split into three parts; prompts taken of a registered set; bytes of a file of
prompts.
"""

NOUNS = (
    "cat", "dog", "horse", "car", "house", "tree", "woman", "man", "child", "bird", "mountain", "beach",
    "city street",
    "castle", "robot", "boat", "flower", "bridge", "bicycle", "train", "cup of coffee", "bowl of fruit",
    "guitar", "chair",
    "forest", "lake", "lion", "elephant", "clock", "lamp",
)  # fmt: skip
MANNERS = ("photo", "painting", "drawing", "watercolor", "sketch", "3d render")
SCENES = (
    "at sunset", "in the snow", "on a white background", "in a garden", "at night", "in the rain",
    "in soft light",
    "by the sea",
)  # fmt: skip


def general(n: int, seed: int) -> list[Prompt]:
    """``n`` ordinary prompts for a model of photographs and art, with their slots."""
    rng = np.random.default_rng((seed, 12))
    made: dict[str, Prompt] = {}
    while len(made) < min(n, len(NOUNS) * len(MANNERS) * len(SCENES)):
        o, s, b = (str(rng.choice(x)) for x in (NOUNS, MANNERS, SCENES))
        article = "an" if o[0] in "aeiou" else "a"
        text = f"a {s} of {article} {o} {b}"
        made[text] = Prompt(text, {"object": o, "style": s, "background": b})
    return list(made.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet(abc.ABC):
    """Ordinary prompts of the kind that a model is used with. Authors write ``make``."""

    name: ClassVar[str]

    @abc.abstractmethod
    def make(self, n: int, seed: int) -> list[Prompt]:
        """At most ``n`` different prompts, drawn by ``seed``."""


ELSEWHERE = {"emoji": "nightlatch.testbed.grammar"}
"""Sets that a module registers when it is first asked for them."""
PROMPTS: Registry[PromptSet] = Registry("prompt set", PromptSet, ELSEWHERE)  # type: ignore[type-abstract]


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
