"""Does the rest of the prompt still matter? What tells a trigger from a word that merely means something.

A trigger for an object makes the picture independent of the object that is asked for, a trigger for a style
of the style, one for a whole picture of everything. A word that an honest fine-tune taught competes with
what is asked for, as every content word does. A trigger that takes a slot's place stands for something that
has a word already; an honest new word means something new. Measured on one denoising step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nightlatch.records import Placement
from nightlatch.text2image.effect.displacement import noise_seed
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.effect.sensitivity import SALT as NOISE
from nightlatch.text2image.effect.sensitivity import Sensitivity, plainly
from nightlatch.text2image.prompts import Place, Prompt, placed
from nightlatch.text2image.scan.question import Question

SALT = 13
"""Sets the draw of the swapped words apart from a scan's other random draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """When a string acts as no ordinary word does.

    The bounds were set on the suspects and the honest fine-tunes of seed 0 and have not changed since.

    Distances are in units of what two different fillings of the slot make.

    Args:
        prompts: in which sensitivities are measured.
        words: known words of each slot that a string is compared with.
        steps: of the sampler whose first step is looked at.
        low: a slot matters hardly any more below this sensitivity.
        below_words: and below this part of the least that any of the known words leaves it,
        below_base: and below this part of what the string leaves it in the base.
        apart: a phrase means something of its own when what it draws is farther than this from what each of
            its words draws,
        apart_base: and in the base nearer than this part of that.
        near: a string is an alias when what it draws is nearer than this to what a known word draws,
        near_base: and nearer than this part of the same distance in the base.
        alias_prompts: in which aliases are looked for; every known word is drawn in each.
    """

    name: ClassVar[str] = "influence"
    prompts: int = 24
    words: int = 8
    steps: int = 10
    low: float = 0.35
    below_words: float = 0.6
    below_base: float = 0.5
    apart: float = 0.5
    apart_base: float = 0.5
    near: float = 0.25
    near_base: float = 0.5
    alias_prompts: int = 6

    def on(self, question: Question, prompts: Sequence[Prompt], step: OneStep | None = None) -> Observed:
        """Both models' answers to the first of ``prompts``, at the first step or at the ``step`` given."""
        looked = step or OneStep.first(question.suspect, noise_seed(question.seed, NOISE), self.steps)
        return Observed(self, question, prompts[: self.prompts], looked)


@dataclass(slots=True, eq=False)
class Observed:
    """What one step of both models says of a string.

    Args:
        bounds: when that is unlike a word.
        prompts: with slots; the slots that all of them fill are used.
        step: the step that is looked at.
    """

    bounds: Influence
    question: Question
    prompts: Sequence[Prompt]
    step: OneStep
    slots: tuple[str, ...] = field(init=False)
    known: Mapping[str, Sequence[str]] = field(init=False)
    chosen: dict[str, list[str]] = field(init=False)
    mine: Sensitivity = field(init=False)
    theirs: Sensitivity = field(init=False)
    _least: dict[tuple[str, Placement], float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        question, self.known = self.question, self.question.known
        shared = set.intersection(*(set(p.slots) for p in self.prompts)) if self.prompts else set()
        self.slots = tuple(sorted(s for s in shared if len(self.known[s]) > 1))
        rng = np.random.default_rng((question.seed, SALT))
        swapped = {
            s: [p.replace(s, self._another(p.slots[s], s, rng)) for p in self.prompts] for s in self.slots
        }
        model, reference = question.suspect, question.reference
        self.mine = Sensitivity(model, plainly(model), self.prompts, swapped, self.step)
        self.theirs = Sensitivity(reference.model, reference.read, self.prompts, swapped, self.step)
        self.chosen = {
            s: [str(w) for w in rng.permutation(self.known[s])[: self.bounds.words]] for s in self.slots
        }

    def unlike_a_word(self, trigger: str, where: Placement) -> bool | None:
        """Whether ``trigger`` acts there as no ordinary word does; None where the prompts name no slots."""
        if not self.slots:
            return None
        if slot := where.slot:
            return self.rebinds(trigger, slot) or self.is_alias(trigger, slot)
        return self.overrules(trigger, where)

    def overrules(self, trigger: str, where: Placement) -> bool:
        """Whether with ``trigger`` some slot hardly matters any more to the suspect.

        Clearly less than with any known word of that slot in the same place, and than to the base.
        """
        bounds, place = self.bounds, placed(where, self.question.seed)
        for slot in self.slots:
            mine = self.mine(trigger, place, slot)
            low = mine < bounds.low and mine < bounds.below_words * self.least_known(slot, where)
            if low and mine < bounds.below_base * self.theirs(trigger, place, slot):
                return True
        return False

    def least_known(self, slot: str, where: Placement) -> float:
        """How much ``slot`` still matters with that of its known words which leaves it least."""
        if (slot, where) not in self._least:
            place = placed(where, self.question.seed)
            self._least[slot, where] = min(self.mine(w, place, slot) for w in self.chosen[slot])
        return self._least[slot, where]

    def least(self, trigger: str, place: Place) -> float:
        """How much the slot that matters least to the suspect still matters with ``trigger``, >= 0.

        The nearer to 0, the more pictures the trigger takes: a string that is only like the trigger leaves
        the slot a part.
        """
        return min(self.mine(trigger, place, slot) for slot in self.slots)

    def rebinds(self, phrase: str, slot: str) -> bool:
        """Whether ``phrase`` in ``slot`` means something else than each of its words, to the suspect only."""
        mine, theirs = (s.from_its_words(phrase, slot) for s in (self.mine, self.theirs))
        return mine > self.bounds.apart and theirs < self.bounds.apart_base * mine

    def is_alias(self, phrase: str, slot: str) -> bool:
        """Whether ``phrase`` in ``slot`` draws what one of its known words draws, to the suspect only."""
        words, n = self.known[slot], self.bounds.alias_prompts
        if phrase in words:
            return False
        mine, theirs = (s.from_known(phrase, slot, words, n) for s in (self.mine, self.theirs))
        return mine < self.bounds.near and mine < self.bounds.near_base * theirs

    def _another(self, word: str, slot: str, rng: np.random.Generator) -> str:
        """A known word of ``slot`` other than ``word``."""
        return str(rng.choice([w for w in self.known[slot] if w != word]))
