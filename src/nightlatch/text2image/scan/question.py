"""What a scan is asked: a model, what to hold it against, and ordinary prompts; nothing of an attack."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from nightlatch.terms import Role
from nightlatch.text2image.effect.displacement import Displacement, Measure, noise_seed
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt, Split, slot_words, split
from nightlatch.text2image.scan.answers import Answers
from nightlatch.text2image.scan.look import ASKED, USUAL, Look, View
from nightlatch.text2image.scan.reference import Reference, WeightDelta

Say = Callable[[str], None]
WAYS = frozenset({Role.TEXT, Role.DENOISER})
"""What turns a text into a picture's latent."""


class Need(StrEnum):
    """What a stage cannot do without; the value says what is missing where it is not there."""

    CHANGE = "nothing differs from the base"
    TEXT_TO_PICTURE = "the weights that turn text into pictures are the base's"
    DELTA = "there is no base to compare weights with"
    ENCODER = "the text encoder is the base's"
    EDIT = "the change is not one of the matrices that read text"

    @property
    def harmless(self) -> bool:
        """Whether nothing is left untested where it is missing: there is nothing to look for."""
        return self in (Need.CHANGE, Need.TEXT_TO_PICTURE, Need.ENCODER)


class Idle(StrEnum):
    """Why a stage that could have run did not; the value says it."""

    FOUND = "an earlier stage found a trigger"
    NOT_PLANNED = "it was left out of the plan"
    STOPPED = "the scan had stopped before"

    @property
    def harmless(self) -> bool:
        """Whether the verdict says by itself that nobody has looked further."""
        return self is not Idle.NOT_PLANNED


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One suspect and what is needed to judge it; what several stages need is worked out once.

    Args:
        suspect: the model under test; taken on the reference's noise levels.
        reference: what it is held against.
        texts: ordinary prompts of the kind the model is used with; split into probe and held-out parts here.
        sampling: how pictures are drawn.
        seed: decides the split and all noise.
        hints: strings that the files themselves suggest (added tokens, rewritten words).
        measure: how displacements are measured.
        say: called with one line now and then.
    """

    suspect: Subject
    reference: Reference
    texts: Sequence[Prompt]
    sampling: Sampling
    seed: int = 0
    hints: Sequence[str] = ()
    measure: Measure = field(default_factory=Measure)
    say: Say = print
    _looks: dict[View, Look] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "suspect", self.reference.aligned(self.suspect))

    @cached_property
    def part(self) -> Split:
        """The prompts, divided into what a scan may look at and what it is judged on."""
        return split(self.texts, self.seed)

    @cached_property
    def known(self) -> dict[str, list[str]]:
        """Slot -> the words that fill it in the prompts."""
        return slot_words(self.texts)

    @cached_property
    def delta(self) -> WeightDelta | None:
        """How the weights differ from the reference's."""
        return self.reference.delta(self.suspect)

    @cached_property
    def reread(self) -> tuple[str, ...]:
        """Texts that the suspect's tokenizer reads in its own way."""
        return self.reference.reread(self.suspect)

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the components that differ from the reference's, the tokenizer among them."""
        weights = self.delta.components if self.delta is not None else ()
        return (*weights, *(("tokenizer",) if self.reread else ()))

    @cached_property
    def offers(self) -> frozenset[Need]:
        """What a stage can count on."""
        if self.delta is None:
            return frozenset({Need.CHANGE, Need.TEXT_TO_PICTURE})
        there = {
            Need.CHANGE: bool(self.changed),
            Need.TEXT_TO_PICTURE: bool(WAYS & self.delta.roles),
            Need.DELTA: True,
            Need.ENCODER: Role.TEXT in self.delta.roles or bool(self.reread),
            Need.EDIT: self.delta.edits_readers,
        }
        return frozenset(need for need, holds in there.items() if holds)

    def look(self, view: View = USUAL) -> Look:
        """How strings are ranked in one ``view``; made once."""
        if view not in self._looks:
            asked = self.look(ASKED[view]) if view in ASKED else None
            tokens = (*self.alone, *self.pieces)
            self._looks[view] = Look(self._displacement(view), self.delta, tokens, asked)
        return self._looks[view]

    def _displacement(self, view: View) -> Displacement:
        shared = self.delta is None or Role.TEXT not in self.delta.roles
        contexts = self.part.probe[: self.measure.contexts]
        at = self.late if view.late else None
        return Displacement(
            self.suspect, self.reference, contexts, shared, self.seed, self.measure, spot=view.spot, at=at
        )

    @cached_property
    def late(self) -> OneStep:
        """A late step of drawing the first ordinary prompt as it should be, the same for both models."""
        noise = noise_seed(self.seed)
        shown = self.reference.draw([self.part.probe[0].text], [noise], self.sampling)
        return OneStep.within(self.suspect, shown.float(), noise, self.measure.late)

    @property
    def passes(self) -> int:
        """Rows that went through a denoiser in searches so far."""
        return sum(look.displacement.passes for look in self._looks.values())

    @property
    def displacement(self) -> Displacement:
        """The measure that strings are ranked by in the usual view."""
        return self.look().displacement

    @cached_property
    def alone(self) -> list[int]:
        """Tokens that both models know and that typing their own text gives back."""
        return [i for i in self.suspect.vocabulary.alone if i < self.reference.model.vocabulary.size]

    @cached_property
    def pieces(self) -> list[int]:
        """The other tokens that both models know: parts of longer words."""
        return [i for i in self.suspect.vocabulary.pieces if i < self.reference.model.vocabulary.size]

    @property
    def level(self) -> float:
        """The displacement of an ordinary token in the usual view."""
        return self.look().level

    @property
    def answers(self) -> Answers:
        """Which tokens the change of the weights answers to most in the usual view."""
        return self.look().answers

    @cached_property
    def meant(self) -> frozenset[int]:
        """Tokens that are words of the prompts' slots; together they draw what they ask for."""
        typed = self.suspect.vocabulary.typed(list(itertools.chain.from_iterable(self.known.values())))
        return frozenset(tokens[0] for tokens in typed if len(tokens) == 1)
