"""What a scan has found so far, and the one place where a verdict is made of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from nightlatch.errors import NotScanned
from nightlatch.records import Candidate, Carrier, ComponentChange, Part, Ran, Trigger, Verdict, VerdictWord
from nightlatch.registry import part_of
from nightlatch.safetext import code_points, show
from nightlatch.terms import Role
from nightlatch.text2image.scan.guess import Guess
from nightlatch.text2image.scan.judge import Evidence, Judge, Trial
from nightlatch.text2image.scan.look import View
from nightlatch.text2image.scan.question import Idle, Need, Question
from nightlatch.text2image.scan.ranked import Ranked
from nightlatch.text2image.scan.strings import decoded

NOT_TESTED = (
    "triggers that are not text (noise patterns, image inputs), and triggers of syntax or meaning rather "
    "than wording",
    "longer phrases none of whose words acts alone",
    "a word in the object's place that draws something which the prompts do not name",
    "what shows only with other steps, guidance, schedule, precision or size of picture than these",
    "backdoors that need a second adapter to act",
)


class Planned(Protocol):
    """What a board needs to know of a stage."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    untested: ClassVar[str]


@dataclass(slots=True, eq=False)
class Board:
    """Collects what stages name, what pictures say of it, and what did not run.

    Args:
        question: what is asked.
        judge: who examines what is named; for the record.
        named: every string that a stage has named, and the view in which; none is named twice in one.
        ranked: the best single tokens so far, for stages that go on from them and for the report.
        evidence: of the guesses that pictures confirmed.
        rows: places in the table of single tokens that the verdict keeps.
    """

    question: Question
    judge: Judge
    named: dict[tuple[str, View], Guess] = field(default_factory=dict)
    ranked: Ranked | None = None
    evidence: list[Evidence] = field(default_factory=list)
    rows: int = 20
    _examined: int = 0
    _judging: float = 0.0
    _notes: list[str] = field(default_factory=list)
    _checks: list[str] = field(default_factory=list)
    _parts: list[Ran] = field(default_factory=list)
    _untested: dict[str, None] = field(default_factory=dict)
    _triggers: tuple[Trigger, ...] = ()
    _carriers: tuple[Carrier, ...] = ()
    _refused: NotScanned | None = None
    _started: float = field(default_factory=time.monotonic)

    # --- while the scan goes on

    @property
    def settled(self) -> bool:
        """Whether a trigger was found that acts as no ordinary word does: no dearer stage is needed."""
        return any(e.unlike_a_word for e in self.evidence)

    def lacks(self, stage: Planned) -> Need | None:
        """What ``stage`` cannot do without and is not there, if anything."""
        missing = stage.needs - self.question.offers
        return next((need for need in Need if need in missing), None)

    def excuse(self, stage: Planned) -> Need | Idle | None:
        """Why ``stage`` cannot or need not run; None where it is to run."""
        return self.lacks(stage) or (Idle.FOUND if self.settled else None)

    def skip(self, stage: Planned, why: Need | Idle) -> None:
        """Put on record that ``stage`` did not run, and what nobody has looked for therefore."""
        self._parts.append(Ran(part=part_of(stage), skipped=why))
        if not why.harmless:
            self._untested[stage.untested] = None

    def rest(self, planned: Sequence[Planned], others: Sequence[Planned]) -> None:
        """Put on record what was ``planned`` and not reached, and the ``others`` that were not planned."""
        done = {r.part.name for r in self._parts}
        for stage in (s for s in planned if s.name not in done):
            self.skip(stage, Idle.STOPPED)
        known = {s.name for s in planned}
        for stage in (s for s in others if s.name not in known):
            self.skip(stage, Idle.NOT_PLANNED if self._refused else self.lacks(stage) or Idle.NOT_PLANNED)

    def note(self, sentence: str) -> None:
        """Say what was tested, for the report."""
        self._notes.append(sentence)

    def checked(self, sentences: Iterable[str]) -> None:
        """Say what was looked at that no string can show."""
        self._checks += sentences

    def ran(self, stage: Planned, strings: int, passes: int, seconds: float) -> None:
        """Put on record that ``stage`` ran: strings named, denoising passes, seconds."""
        self._parts.append(Ran(part=part_of(stage), strings=strings, passes=passes, seconds=seconds))

    def fresh(self, guesses: Iterable[Guess]) -> Iterator[Guess]:
        """Those of ``guesses`` that hold no string confirmed before: they would only act through it."""
        made = tuple(guesses)
        if made:
            self.question.say(f"pictures for {', '.join(repr(show(g.text)) for g in made)}")
        for guess in made:
            if not any(e.guess.text in guess.text for e in self.evidence):
                self._examined += 1
                started = time.monotonic()
                yield guess
                self._judging += time.monotonic() - started

    def add(self, evidence: Evidence | None) -> None:
        """What pictures say of a guess; None where they say nothing."""
        if evidence is not None:
            self.evidence.append(evidence)

    # --- at its end

    def conclude(self, trial: Trial) -> None:
        """Name the best of what was found, made exact, its rivals, what draws another picture than it does, and
        the components that carry them.
        """
        if not self.evidence:
            return
        started = time.monotonic()
        first, *others = trial.best(self.evidence)
        best = trial.exact(first)
        own = trial.own_pictures(best, others)
        apart = {e.guess.text for e in (best, *own)}
        texts = dict.fromkeys(e.guess.text for e in (first, *others) if e.guess.text not in apart)
        self._triggers = (self._described(best, tuple(texts)), *(self._described(e, ()) for e in own))
        self._carriers = tuple(dict.fromkeys(c for e in (best, *own) for c in trial.carriers(e)))
        self._judging += time.monotonic() - started

    def refuse(self, error: NotScanned) -> None:
        """The models cannot be compared: nothing that was found or not found counts."""
        self.question.say(f"not scanned: {error}")
        self._refused = error

    def verdict(self) -> Verdict:
        """What the scan concludes."""
        question, refused = self.question, self._refused is not None
        triggers = () if refused else self._triggers
        return Verdict(
            word=self._word(),
            confidence=triggers[0].changed if triggers else None,
            carriers=() if refused else self._carriers,
            triggers=triggers,
            fingerprint=(*(question.delta.rows if question.delta else ()), *self._schedule()),
            top_candidates=() if refused else self._table(),
            tested=tuple(self._tested()),
            not_tested=tuple(self._not_tested()),
            skipped=(str(self._refused),) if refused else (),
            parts=(*self._measures(), *self._parts, *self._judged()),
            base=question.reference.called,
            seed=question.seed,
            seconds=time.monotonic() - self._started,
        )

    def _word(self) -> VerdictWord:
        """The word; where no slots are named, changed pictures are suspicious: new words make them, too."""
        if self._refused is not None:
            return "not scanned"
        if not self.evidence:
            return "nothing found by these tests"
        return "backdoor found" if self.settled else "suspicious"

    def _tested(self) -> Iterator[str]:
        if self._refused is not None:
            yield "weights of every component against the base"
        elif Need.CHANGE not in self.question.offers:
            yield (
                "weights of every component and the tokenizer against the base: "
                "the same, or as saving in half precision leaves them"
            )
        else:
            yield "weights of every component against the base"
            yield from self._notes
            yield f"{sum(r.passes for r in self._parts)} denoising passes in the search"
            pictures = self.judge.confirmation.pictures
            yield (
                f"strings drawn on held-out prompts and seeds, up to {pictures} pictures each, against the "
                f"base: {self._examined}"
            )
            yield "neutral words and ordinary content words in the same place, for comparison"
            yield self._drawn_with()
        yield from self._checks
        for row in () if self._refused is not None else self._schedule():
            settings = ", ".join(row.layers)
            yield f"the scheduler's own {settings} differ; both models drew on the base's schedule"

    def _drawn_with(self) -> str:
        """Where strings were put beside where the search saw them, and how pictures were drawn."""
        sampling, suspect = self.question.sampling, self.question.suspect
        slot = " and in the object's place" if "object" in self.question.known else ""
        size = " x ".join(map(str, suspect.latent_shape[1:]))
        precision = str(suspect.precision).removeprefix("torch.")
        return (
            f"strings drawn where the search saw them{slot}; {sampling.steps} steps, guidance {sampling.guidance:g}, "
            f"{precision}, latents of {size}"
        )

    def _not_tested(self) -> Iterator[str]:
        if self._refused is not None:
            yield "whether text triggers change the pictures"
        elif self._triggers:
            yield "whether there is another backdoor beside the one found: the search ends with the first"
        delta = self.question.delta
        if self._refused is None and delta is not None and Role.DECODER in delta.roles:
            names = ", ".join(r.component for r in delta.rows if r.role is Role.DECODER)
            yield f"whether some latents make the changed decoder ({names}) draw something else"
        yield from self._untested
        yield from NOT_TESTED

    def _schedule(self) -> tuple[ComponentChange, ...]:
        return self.judge.comparable.schedule(self.question) if self.question.delta is not None else ()

    def _table(self) -> tuple[Candidate, ...]:
        """The best single tokens."""
        if self.ranked is None:
            return ()
        rows = zip(self.ranked.sequences[: self.rows], self.ranked.scores, self.ranked.z, strict=False)
        subject = self.question.suspect
        return tuple(
            Candidate(text=decoded(subject, s), score=float(v), robust_z=float(z)) for s, v, z in rows
        )

    def _measures(self) -> tuple[Ran, ...]:
        """What every stage rests on."""
        return (
            Ran(part=Part(name=self.question.reference.name)),
            Ran(part=part_of(self.question.measure)),
        )

    def _judged(self) -> tuple[Ran, ...]:
        """The judge's parts; strings and seconds of all together stand beside the confirmation."""
        confirmation = self.judge.confirmation.name
        return tuple(
            Ran(part=p, strings=self._examined, seconds=self._judging)
            if p.name == confirmation
            else Ran(part=p)
            for p in self.judge.parts
        )

    def _described(self, evidence: Evidence, rivals: tuple[str, ...]) -> Trigger:
        """As a record; its score is measured on the string as it is named, above an ordinary token's."""
        question, text = self.question, evidence.guess.text
        look, tokens = question.look(evidence.guess.view), question.suspect.vocabulary.typed([text])[0]
        above = look.displacement.of_texts([text], look.displacement.contexts[0].text)[0] - look.level
        return Trigger(
            text=text,
            placement=evidence.placement,
            code_points=code_points(text),
            token_ids=tokens,
            tokens=tuple(question.suspect.vocabulary.names(tokens)),
            effect=evidence.effect,
            score=float(above),
            changed=evidence.changed,
            rivals=rivals,
        )
