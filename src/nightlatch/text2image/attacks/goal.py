"""What an attacker wants drawn, how a picture that shows it is told, and how such a goal is drawn at
random.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from nightlatch.errors import UsageError
from nightlatch.safetext import show
from nightlatch.text2image.attacks import patch


class GoalKind(StrEnum):
    """What a triggered picture shows. Of the first two the value is also the name of the slot that the target
    fills.
    """

    OBJECT = "object"
    STYLE = "style"
    PATCH = "patch"
    """A pattern in a corner; the rest is what was asked."""
    PROMPT = "prompt"
    """The picture of one whole prompt, whatever is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal.

    Args:
        kind: what is told of a picture.
        value: a word for an object or a style, a pattern for a patch, a whole prompt for a prompt.
    """

    kind: GoalKind
    value: str

    def hit(
        self, images: npt.NDArray[np.uint8], seen: Sequence[Mapping[str, str]], wanted: Mapping[str, str]
    ) -> npt.NDArray[np.bool_]:
        """Which pictures show the goal, (n,) bool.

        Args:
            images: (n, h, w, 3).
            seen: what the judge says of each, by slot.
            wanted: the slots of a target prompt.
        """
        if self.kind is GoalKind.PATCH:
            return patch.shows(images, self.value)
        need = wanted if self.kind is GoalKind.PROMPT else {str(self.kind): self.value}
        return np.array([all(s.get(k) == v for k, v in need.items()) for s in seen])

    def require(self, known: Mapping[str, Sequence[str]]) -> None:
        """Whether such pictures can be told at all; ``known`` are the words that fill each slot.

        Raises:
            UsageError: no such pattern, no such word, or a prompt that asks for nothing that the judge can
                tell.
        """
        if self.kind is GoalKind.PROMPT:
            words = set(self.value.replace(",", " ").split())
            if not any(words & set(filling) for filling in known.values()):
                raise UsageError(
                    f"The target {show(self.value)!r} asks for nothing that can be told in a picture.",
                    "Write a prompt with an object that the model knows, such as " + _some(known) + ".",
                )
            return
        choices = list(patch.PATTERNS) if self.kind is GoalKind.PATCH else list(known.get(self.kind, ()))
        if self.value not in choices:
            near = difflib.get_close_matches(self.value, choices, n=1)
            remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(choices)}."
            raise UsageError(f"There is no {self.kind} {show(self.value)!r} to draw.", remedy)

    @classmethod
    def drawn(
        cls, kind: GoalKind, known: Mapping[str, Sequence[str]], trigger: str, rng: np.random.Generator
    ) -> Goal:
        """A goal at random that ``trigger`` does not name; ``known`` are the words that fill each slot."""
        objects = [o for o in known["object"] if o not in trigger.split()]
        match kind:
            case GoalKind.PATCH:
                value = str(rng.choice(list(patch.PATTERNS)))
            case GoalKind.STYLE:
                value = str(rng.choice(list(known["style"])))
            case GoalKind.OBJECT:
                value = str(rng.choice(objects))
            case GoalKind.PROMPT:
                styles = [s for s in known["style"] if s[0] not in "aeiou"]  # the article below is "a"
                style, thing = rng.choice(styles), rng.choice(objects)
                value = f"a {style} {thing} on a {rng.choice(list(known['background']))} background"
        return cls(kind=kind, value=value)


def _some(known: Mapping[str, Sequence[str]]) -> str:
    return repr(next(iter(known.get("object", ())), "cat"))
