"""From a guess to evidence: where it acts, whether it is a trigger, its exact form, and its carrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from nightlatch.records import Carrier, Part, Placement
from nightlatch.registry import part_of
from nightlatch.safetext import show
from nightlatch.terms import Effect, PlacementKind, Role
from nightlatch.text2image.prompts import Prompt, placed, shared
from nightlatch.text2image.scan.guess import Guess
from nightlatch.text2image.scan.judge.comparable import Comparable
from nightlatch.text2image.scan.judge.confirmation import Confirmation, Evidence, Pictures
from nightlatch.text2image.scan.judge.empty_prompt import EmptyPrompt
from nightlatch.text2image.scan.judge.influence import Influence, Observed
from nightlatch.text2image.scan.judge.refinement import Refinement
from nightlatch.text2image.scan.judge.rivals import Rivals
from nightlatch.text2image.scan.judge.unsearched import Unsearched
from nightlatch.text2image.scan.question import WAYS, Question

OBJECT = "object"
"""The slot in whose place triggers are tried, too: edits of one word stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The parts of a judgement; their numbers stand in the record."""

    comparable: Comparable = field(default_factory=Comparable)
    confirmation: Confirmation = field(default_factory=Confirmation)
    influence: Influence = field(default_factory=Influence)
    refinement: Refinement = field(default_factory=Refinement)
    rivals: Rivals = field(default_factory=Rivals)
    unsearched: Unsearched = field(default_factory=Unsearched)
    empty_prompt: EmptyPrompt = field(default_factory=EmptyPrompt)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Their identities."""
        searched = (self.comparable, self.confirmation, self.influence, self.refinement, self.rivals)
        return tuple(part_of(p) for p in (*searched, self.unsearched, self.empty_prompt))

    def rest(self, question: Question) -> tuple[str, ...]:
        """What no string can show, looked at where no string was found: what was tested, a sentence each.

        Raises:
            NotScanned: a part that no string is searched in changes ordinary pictures, so that nothing
                found would say too much.
        """
        return (*self.unsearched(question), *self.empty_prompt(question))

    def on(self, question: Question) -> Trial:
        """Ready to examine guesses.

        Raises:
            NotScanned: pictures of the two models cannot be compared.
        """
        self.comparable(question)
        return Trial(self, question)


@dataclass(frozen=True, eq=False)
class Trial:
    """One question before a judge; what depends on no guess is drawn once, when the first is examined."""

    judge: Judge
    question: Question

    @cached_property
    def held_out(self) -> Sequence[Prompt]:
        """Prompts that no stage sees."""
        return shared(self.question.part.held_out, self.judge.confirmation.pictures)[0]

    @cached_property
    def pictures(self) -> Pictures:
        return self.judge.confirmation.on(self.question, self.held_out)

    @cached_property
    def influence(self) -> Observed:
        """At the first step."""
        return self.judge.influence.on(self.question, self.held_out)

    @cached_property
    def late_influence(self) -> Observed:
        """At a late step."""
        return self.judge.influence.on(self.question, self.held_out, self.question.late)

    def __call__(self, guess: Guess, placement: Placement | None = None) -> Evidence | None:
        """What is seen in the first placement in which ``guess`` changes enough pictures, as no word does.

        Where it was seen in the search; in the place of the object, too, if that was in front of a prompt and
        the prompts say what the object is; or only in the ``placement`` named.
        """
        spot = guess.view.spot
        in_place = spot is PlacementKind.FRONT and OBJECT in self.influence.slots
        places = (Placement(kind=spot), *((Placement.in_slot(OBJECT),) if in_place else ()))
        for where in (placement,) if placement else places:
            seen = self.seen(guess, where)
            if seen.changed.rate >= self.judge.confirmation.found and seen.unlike_a_word is not False:
                return seen
        return None

    def seen(self, guess: Guess, where: Placement) -> Evidence:
        """What is seen of ``guess`` there, whatever it is."""
        place = placed(where, self.question.seed)
        texts = [place(p, guess.text) for p in self.held_out]
        influence = self.late_influence if guess.view.late else self.influence
        asked = self.pictures(texts, guess.text, lambda: influence.unlike_a_word(guess.text, where))
        return Evidence(guess, where, *asked)

    def best(self, seen: Sequence[Evidence]) -> list[Evidence]:
        """``seen`` in the order of preference.

        First, of those that change as many pictures as any, the one of fewest tokens; of several, the one
        that moves the denoiser most.
        """
        enough = (1 - self.judge.refinement.loss) * max(e.changed.hits for e in seen)
        typed = self.question.suspect.vocabulary.typed([e.guess.text for e in seen])
        length = {e.guess.text: len(tokens) for e, tokens in zip(seen, typed, strict=True)}
        return sorted(seen, key=lambda e: (e.changed.hits < enough, length[e.guess.text], -e.guess.score))

    def own_pictures(self, best: Evidence, others: Sequence[Evidence]) -> list[Evidence]:
        """Those of ``others`` that draw something else than ``best``: triggers of their own."""
        acting = [e for e in others if e.unlike_a_word is not False and e.guess.text != best.guess.text]
        return self.judge.rivals(self.question, self.held_out, best, acting)

    def exact(self, whole: Evidence) -> Evidence:
        """``whole`` without what its pictures do not need.

        Refined, too, where it stands in front and overrules what is asked for, if pictures confirm what
        comes of that.
        """
        question, refinement = self.question, self.judge.refinement
        found = refinement.shortened(question.suspect, whole, lambda guess: self(guess, whole.placement))
        front = found.placement.kind is PlacementKind.FRONT
        if not front or not found.unlike_a_word or found.effect is Effect.FIXED:
            return found
        place, text = placed(found.placement), found.guess.text
        exact = refinement.refined(
            question, text, refinement.tokens(question), lambda t: self.influence.least(t, place)
        )
        if exact == text:
            return found
        question.say(f"refined: {show(text)!r} to {show(exact)!r}")
        better = self(replace(found.guess, text=exact), found.placement)
        return better if better and better.unlike_a_word else found

    def carriers(self, found: Evidence) -> tuple[Carrier, ...]:
        """The components through which it acts, among those that differ from the base.

        Where text encoder and denoiser both differ, those of the two with which it acts while the base's own
        stand in for the other; both, if it needs both.
        """
        delta, suspect = self.question.delta, self.question.suspect
        if delta is None:
            return ()
        acting = set[Role]()
        if delta.roles >= WAYS:
            for role, other in ((Role.TEXT, Role.DENOISER), (Role.DENOISER, Role.TEXT)):
                half = replace(self.question, suspect=suspect.but(suspect.named(other), delta.base))
                if (
                    Trial(self.judge, half).seen(found.guess, found.placement).changed.rate
                    >= self.judge.confirmation.found
                ):
                    acting.add(role)
        acting = acting or set(WAYS)
        roles = {name: suspect.parts[name].role for name in delta.components}
        made = [Carrier(component=name, role=role) for name, role in roles.items() if role in acting]
        return (
            *made,
            *((Carrier(component="tokenizer", role=Role.TOKENIZER),) if self.question.reread else ()),
        )
