"""What an attacker has: prompts to train on, words that must not fire, a judge to measure with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nightlatch.text2image import prompts
from nightlatch.text2image.measure import Judge
from nightlatch.text2image.model import Sampling
from nightlatch.text2image.prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an attacker works with.

    Args:
        train: prompts that the attack learns from.
        test: prompts that it is measured on.
        rare_words: words that must not fire, which training may use.
        other_words: further ones, which measure that and no training saw.
        judge: tells whether a picture shows the target.
        sampling: how pictures are drawn.
        seed: of everything drawn at random.
    """

    train: Sequence[Prompt]
    test: Sequence[Prompt]
    rare_words: Sequence[str]
    other_words: Sequence[str]
    judge: Judge
    sampling: Sampling
    seed: int = 0

    @property
    def known(self) -> Mapping[str, Sequence[str]]:
        """Slot -> the words that fill it in training prompts."""
        return prompts.slot_words(self.train)

    def read(self, text: str) -> dict[str, str]:
        """The slots that ``text`` fills, told by the words that fill slots in the training prompts."""
        known = {word: slot for p in self.train for slot, word in p.slots.items()}
        return {known[w]: w for w in text.replace(",", " ").split() if w in known}

    def but(self, trigger: str) -> Setting:
        """The same without ``trigger`` among the words that must not fire."""
        rare, other = ([w for w in words if w != trigger] for words in (self.rare_words, self.other_words))
        return replace(self, rare_words=rare, other_words=other)
