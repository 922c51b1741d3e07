"""Sensitivity: how much a slot of the prompt still matters to one model when a string stands in the prompt.

Swap the object that is asked for, and see how far the first denoising step moves: with the string, over
without it. 1 means that the string leaves the slot its whole say, 0 that the picture no longer depends on
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.prompts import Place, Prompt

SALT = 4321
"""Sets the noise of sensitivities apart from that of a scan's other measurements."""


class Reads(Protocol):
    """How a model is told texts, which may hold ``trigger``."""

    def __call__(self, texts: Sequence[str], trigger: str = "") -> Condition: ...


def plainly(model: Subject) -> Reads:
    """Told the texts as they are."""
    return lambda texts, trigger="": model.read(texts)


@dataclass(slots=True, eq=False)
class Sensitivity:
    """One model's answers to prompts whose slots are swapped.

    Args:
        reads: how the model is told a text.
        prompts: with slots that all of them fill.
        swapped: slot -> the same prompts with another word in it.
        step: the step that is looked at.
    """

    model: Subject
    reads: Reads
    prompts: Sequence[Prompt]
    swapped: Mapping[str, Sequence[Prompt]]
    step: OneStep
    _usual: dict[str, float] = field(default_factory=dict)
    _known: dict[str, torch.Tensor] = field(default_factory=dict)

    def __call__(self, trigger: str, place: Place, slot: str) -> float:
        """How much swapping ``slot`` moves the prediction with ``trigger`` there, over without it, >= 0."""
        before, after = self.prompts, self.swapped[slot]
        return self._apart(
            [place(p, trigger) for p in before], [place(p, trigger) for p in after], trigger
        ) / self.usual(slot)

    def from_its_words(self, phrase: str, slot: str) -> float:
        """Distance of what ``phrase`` draws in ``slot`` to the nearest of its words, over ``usual``."""
        asked = [phrase, *phrase.split()]
        whole, *words = (self._x0([p.replace(slot, w).text for p in self.prompts], phrase) for w in asked)
        return min(float((whole - w).pow(2).mean()) for w in words) / self.usual(slot)

    def from_known(self, phrase: str, slot: str, words: Sequence[str], n: int) -> float:
        """Distance of what ``phrase`` draws in ``slot`` to the nearest of ``words``, over ``usual``.

        In the first ``n`` prompts.
        """
        some = self.prompts[:n]
        if slot not in self._known:
            known = self._x0([p.replace(slot, w).text for w in words for p in some])
            self._known[slot] = known.unflatten(0, (-1, len(some)))
        drawn = self._x0([p.replace(slot, phrase).text for p in some], phrase)
        return float((self._known[slot] - drawn).pow(2).flatten(1).mean(1).min()) / self.usual(slot)

    def usual(self, slot: str) -> float:
        """Mean squared distance of the predictions for two fillings of ``slot``, > 0; computed once."""
        if slot not in self._usual:
            moved = self._apart([p.text for p in self.prompts], [p.text for p in self.swapped[slot]])
            self._usual[slot] = max(moved, 1e-12)
        return self._usual[slot]

    def _apart(self, a: Sequence[str], b: Sequence[str], trigger: str = "") -> float:
        return float((self._x0(a, trigger) - self._x0(b, trigger)).pow(2).mean())

    @torch.no_grad()
    def _x0(self, texts: Sequence[str], trigger: str = "") -> torch.Tensor:
        """The clean latents that the first step implies, (n, channels, h, w)."""
        return self.step.x0(self.model, self.reads(texts, trigger))
