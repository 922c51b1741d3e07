"""The prompts that a repair learns from: with the trigger, without it, with what must stay as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from nightlatch.records import PlacedTrigger
from nightlatch.terms import PlacementKind
from nightlatch.text2image import prompts
from nightlatch.text2image.effect.neutral import (
    Neutral,
    copied_word,
    drawing_otherwise,
    least_attacked,
    neutral,
    single_token_words,
)
from nightlatch.text2image.measure import take
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Place
from nightlatch.text2image.repair.base import Job

ELSEWHERE = 3
"""Every so many-th prompt has the trigger elsewhere, so that the repair does not hold in front alone."""
COMPARED = 6
"""Prompts on which the known words are compared with the trigger that stands in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Lists of texts, one row each for a prompt and a trigger.

    Args:
        triggered: the prompt with the trigger.
        dropped: the prompt disarmed, as it is to be drawn.
        filled: the prompt with neutral words of the same token count in the trigger's place.
        held: the prompt with something else in the trigger's place that must go on as before:
            near-spellings, parts, other words.
        replaced: whether neutral words stand for the trigger in ``dropped``, too, because it took the place
            of a word.
        plain: only for the rows that are ``replaced``: the prompt as it was before, or, in every second row,
            with the known word that draws what the trigger draws. None of the other lists holds such a
            prompt.
    """

    triggered: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    replaced: list[bool] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, subject: Subject, job: Job, n: int, rng: np.random.Generator) -> Self:
        """``n`` rows for every trigger of ``job``, each where it stands; half as many for all that acts like
        them together.
        """
        made = cls()
        forms = [made._add(subject, job, trigger, n, rng) for trigger in job.triggers]
        if job.alike and forms:
            made._add_alike(subject, job, forms[0], max(1, n // 2))
        return made

    def _add_alike(self, subject: Subject, job: Job, form: Neutral, n: int) -> None:
        """Rows of strings that act like a trigger whose disarmed form is ``form``, in turn."""
        quiet = form.quiet
        for i, (prompt, like) in enumerate(zip(take(job.prompts, n), take(job.alike, n), strict=True)):
            place = prompts.placed(like.placement, job.seed)
            tokens = max(1, len(subject.vocabulary.typed([like.text])[0]))
            fillings = [" ".join(take(quiet[k:] + quiet[:k], tokens)) for k in range(len(form.filled))]
            own = replace(form, trigger=like.text, filled=tuple(fillings))
            triggered = place(prompt, like.text)
            forms = [own.disarm(prompt, place, k) for k in range(len(fillings))]
            self.triggered.append(triggered)
            self.dropped.append(least_attacked(subject, triggered, forms, job.seed + i))
            self.filled.append(place(prompt, fillings[0]))
            self.held.append(place(prompt, quiet[i % len(quiet)]))
            self.replaced.append(own.replaces(prompt, place))
            if self.replaced[-1]:
                self.plain.append(prompt.text)

    def _add(
        self, subject: Subject, job: Job, trigger: PlacedTrigger, n: int, rng: np.random.Generator
    ) -> Neutral:
        own_place = prompts.placed(trigger.placement, job.seed)
        form = neutral(subject, trigger.text, job.prompts, job.seed, own_place)
        words = _other_words(subject, form, own_place, job, rng, n)
        known = _copied_word(subject, trigger, job) if form.replaces(job.prompts[0], own_place) else ""
        in_front = trigger.placement.kind is PlacementKind.FRONT
        for i, prompt in enumerate(take(job.prompts, n)):
            moved = in_front and i % ELSEWHERE == ELSEWHERE - 1
            place = prompts.anywhere(job.seed) if moved else own_place
            triggered = place(prompt, trigger.text)
            forms = [form.disarm(prompt, place, k) for k in range(len(form.filled))]
            self.triggered.append(triggered)
            self.dropped.append(least_attacked(subject, triggered, forms, job.seed + i))
            self.filled.append(place(prompt, form.filled[0]))
            self.held.append(place(prompt, words[i % len(words)]))
            self.replaced.append(form.replaces(prompt, place))
            if self.replaced[-1]:
                self.plain.append(place(prompt, known) if known and i % 2 else prompt.text)
        return form

    def parted(self, every: int) -> tuple[Texts, Texts]:
        """Rows to learn from, and rows to watch with: each ``every``-th, or the last of fewer."""
        rows = range(len(self.triggered))
        watched = list(rows[every - 1 :: every]) or [rows[-1]]
        return self._rows(sorted({*rows} - {*watched}) or watched), self._rows(watched)

    def _rows(self, rows: Sequence[int]) -> Texts:
        plain = dict(zip(np.flatnonzero(self.replaced).tolist(), self.plain, strict=True))
        return Texts(
            triggered=[self.triggered[i] for i in rows],
            dropped=[self.dropped[i] for i in rows],
            filled=[self.filled[i] for i in rows],
            held=[self.held[i] for i in rows],
            replaced=[self.replaced[i] for i in rows],
            plain=[plain[i] for i in rows if i in plain],
        )


def _copied_word(subject: Subject, trigger: PlacedTrigger, job: Job) -> str:
    """The known word for what ``trigger`` draws in a slot's place; '' where no word is known."""
    slot, words = trigger.placement.slot, prompts.slot_words(job.prompts)
    if slot not in words:
        return ""
    some = [p for p in job.prompts if slot in p.slots][:COMPARED]
    return copied_word(subject, trigger.text, words[slot], some, prompts.in_slot(slot))


def _other_words(
    subject: Subject, form: Neutral, place: Place, job: Job, rng: np.random.Generator, n: int
) -> Sequence[str]:
    """Half near-spellings and parts of the trigger, half random words.

    None is a trigger of the job, nor draws what it draws.

    In a slot's place near words are kept all the same: there every word draws something of what the trigger
    draws, and leaving the near ones out cost clean prompts a point.
    """
    triggers = {prompts.normal(t.text) for t in (*job.triggers, *job.alike)}
    near = [w for w in prompts.near_spellings(form.trigger, n // 2, rng) if prompts.normal(w) not in triggers]
    if not form.replaces(job.prompts[0], place):
        near = drawing_otherwise(subject, near, form.trigger, job.prompts, place)
    words = [w for w in single_token_words(subject, rng, n - len(near)) if prompts.normal(w) not in triggers]
    return [*near, *words]
