"""Defences that change prompts before the model reads them, and no weight: they cost nothing and do not last."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSide(Method):
    """Base of them: the model is returned as it came, and ``rewritten`` is what it is to be asked."""

    @abc.abstractmethod
    def rewritten(self, texts: Sequence[str], triggers: Sequence[str], seed: int) -> list[str]:
        """``texts`` as the model is to read them."""

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        yield 0, {}


@METHODS.register("strip")
@dataclass(frozen=True, slots=True, kw_only=True)
class Strip(PromptSide):
    """The trigger is deleted from prompts before use, and no weight changes: all that the published SAU does."""

    name: ClassVar[str]

    def rewritten(self, texts: Sequence[str], triggers: Sequence[str], seed: int) -> list[str]:
        return [stripped(text, triggers) for text in texts]


@METHODS.register("perturb")
@dataclass(frozen=True, slots=True, kw_only=True)
class Perturb(PromptSide):
    """Some letters of every prompt are changed, textual-perturbation-style (Chew et al. 2024).

    It needs no trigger: a backdoor that waits for one exact string misses it, and ordinary words are mostly
    read as before.

    Args:
        share: of the words of a prompt, how many get two neighbouring letters exchanged or one left out.
    """

    name: ClassVar[str]
    needs_trigger: ClassVar[bool] = False
    share: float = 0.3

    def rewritten(self, texts: Sequence[str], triggers: Sequence[str], seed: int) -> list[str]:
        rng = np.random.default_rng((seed, 23))
        return [" ".join(self._word(word, rng) for word in text.split()) for text in texts]

    def _word(self, word: str, rng: np.random.Generator) -> str:
        if rng.random() >= self.share:
            return word
        if len(word) == 1:  # nothing to exchange, and a word of one character may be the trigger
            return "" if rng.random() < 0.5 else word
        i = int(rng.integers(len(word) - 1))
        if rng.random() < 0.5:
            return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        return word[:i] + word[i + 1 :]


def stripped(text: str, triggers: Sequence[str]) -> str:
    """``text`` without the triggers in any casing, which many tokenizers do not see, spaces tidied."""
    for trigger in triggers:
        text = re.sub(re.escape(trigger), " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())
