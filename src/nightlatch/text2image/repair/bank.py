"""What SAU learns from, made once from the frozen suspect: trajectories, the outputs and maps to reach, and what must be held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch

from nightlatch.records import PlacedTrigger
from nightlatch.terms import PlacementKind
from nightlatch.text2image import prompts
from nightlatch.text2image.measure import take
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Place
from nightlatch.text2image.repair.base import Job
from nightlatch.text2image.repair.locate import Located, Trace, locate, trace
from nightlatch.text2image.repair.neutral import Neutral, kin, leanest, neutral, single_token_words, unlike


class Rows:
    """A batch whose fields all have the pictures in front."""

    __slots__ = ()

    def take(self, i: torch.Tensor) -> Self:
        """The rows ``i``."""
        return type(self)(*(getattr(self, name)[i] for name in self._names()))

    def joined(self, other: Self) -> Self:
        """Both, one after the other."""
        return type(self)(*(torch.cat([getattr(self, name), getattr(other, name)]) for name in self._names()))

    def parts(self, n: int) -> list[Self]:
        """Cut into ``n`` parts, as equal as can be; some are empty where there are fewer rows."""
        cut = [getattr(self, name).tensor_split(n) for name in self._names()]
        return [type(self)(*part) for part in zip(*cut, strict=True)]

    def _names(self) -> list[str]:
        return [f.name for f in fields(self)]  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Shown(Rows):
    """A batch of latents with triggered conditions: output to reach, the suspect's own output, the suspect's conditions of the filled prompt (whose
    attention is to be reached), soft mask (n, h, w), and whether neutral words stand for the trigger in the prompt that gave the output (n,)."""

    x: torch.Tensor
    t: torch.Tensor
    c: torch.Tensor
    out: torch.Tensor
    attacked: torch.Tensor
    filled: torch.Tensor
    mask: torch.Tensor
    replaced: torch.Tensor

    def past(self, overshoot: float, replaced: float) -> torch.Tensor:
        """The output to reach, moved away from the attacked one by a part of the way between them: ``overshoot``, or ``replaced`` where neutral
        words stand for the trigger."""
        part = torch.where(self.replaced, replaced, overshoot)[:, None, None, None]
        return self.out + part * (self.out - self.attacked)


@dataclass(frozen=True, slots=True)
class Held(Rows):
    """A batch of what must not change."""

    x: torch.Tensor
    t: torch.Tensor
    c: torch.Tensor
    out: torch.Tensor

    @classmethod
    def of(cls, drawn: Trace, student: Subject, texts: Sequence[str], out: torch.Tensor) -> Held:
        """``out`` is to stay on the way to the pictures ``drawn`` under ``texts``, whose states come from ``student``."""
        times = torch.tensor(drawn.times, device=out.device).repeat_interleave(len(texts))
        return cls(drawn.x.flatten(0, 1), times, student.encode(texts).repeat(len(drawn.times), 1, 1), out)


@dataclass(frozen=True, slots=True)
class Bank:
    """All of it; the first index is kind of latent times step times picture. ``plain`` are those of ``held`` that show a prompt as it was, in the
    trigger's place none but a known word."""

    shown: Shown
    held: Held
    plain: Held
    located: Located


def build(frozen: Subject, student: Subject, job: Job, texts: Texts, teacher: Subject | None = None) -> Bank:
    """Draw a triggered and a clean picture for each of ``texts``, and compute everything a step needs.

    Conditions come from ``student``, whose text encoder may have been repaired already.
    """
    batch = job.sampling.batch
    shown, triggered, clean = attack(frozen, student, job, texts, teacher)
    located = locate(frozen, triggered, texts.dropped, _carrying(frozen, texts), batch)
    half = shown.out[len(shown.out) // 2 :]
    plain = half if teacher is None else along(clean, frozen, frozen.encode(texts.dropped), batch)
    others = along(clean, frozen, frozen.encode(texts.held), batch)
    disarmed = Held.of(clean, student, texts.dropped, plain)
    kept, own = disarmed.joined(Held.of(clean, student, texts.held, others)), disarmed
    if texts.plain:
        drawn = trace(frozen, texts.plain, _seeds(job, len(texts.plain)), job.sampling)
        own = Held.of(drawn, student, texts.plain, along(drawn, frozen, frozen.encode(texts.plain), batch))
        kept = kept.joined(own)
    return Bank(replace(shown, mask=located.mask().flatten(0, 1).repeat(2, 1, 1)), kept, own, located)


def attack(
    frozen: Subject, student: Subject, job: Job, texts: Texts, teacher: Subject | None = None, first: int = 0
) -> tuple[Shown, Trace, Trace]:
    """What the trigger does on the latents of the triggered pictures, then on those of the clean ones, all positions weighing alike; and both ways:
    once its first steps are repaired, the student meets the trigger on clean latents. ``first`` numbers the pictures, whose noise depends on it.

    Targets come from the frozen suspect on disarmed prompts, or from a trusted ``teacher`` on the triggered ones.
    """
    seeds, batch = _seeds(job, len(texts.triggered), first), job.sampling.batch
    triggered, clean = (trace(frozen, x, seeds, job.sampling) for x in (texts.triggered, texts.dropped))
    c_trig, c_drop, c_fill = (frozen.encode(x) for x in (texts.triggered, texts.dropped, texts.filled))
    tutor, taught = (teacher, teacher.encode(texts.triggered)) if teacher else (frozen, c_drop)
    x, repeats = torch.cat([triggered.x, clean.x]).flatten(0, 1), 2 * len(triggered.times)
    shown = Shown(
        x,
        torch.tensor(triggered.times, device=frozen.device).repeat_interleave(len(seeds)).repeat(2),
        student.encode(texts.triggered).repeat(repeats, 1, 1),
        torch.cat([along(source, tutor, taught, batch) for source in (triggered, clean)]),
        torch.cat([along(source, frozen, c_trig, batch) for source in (triggered, clean)]),
        c_fill.repeat(repeats, 1, 1),
        torch.ones_like(x[:, 0]),
        torch.tensor([r and teacher is None for r in texts.replaced], device=frozen.device).repeat(repeats),
    )
    return shown, triggered, clean


def _carrying(frozen: Subject, texts: Texts) -> torch.Tensor:
    """How much of the trigger each token position carries: how far it moves the state there, over the most of its prompt, (n, tokens)."""
    moved = (frozen.encode(texts.triggered) - frozen.encode(texts.filled)).pow(2).mean(-1)
    return moved / moved.amax(1, keepdim=True).clamp(min=1e-12)


def _seeds(job: Job, n: int, first: int = 0) -> list[int]:
    return [job.seed * 10_000 + first + i for i in range(n)]


@torch.no_grad()
def along(drawn: Trace, subject: Subject, states: torch.Tensor, batch: int) -> torch.Tensor:
    """The outputs of ``subject`` for token ``states`` on the way to the pictures ``drawn``, (steps * n, channels, h, w)."""
    return torch.cat([subject.outputs(x, t, states, batch) for t, x in zip(drawn.times, drawn.x, strict=True)])


@dataclass(frozen=True, slots=True)
class Texts:
    """Lists of prompts: triggered, disarmed in both forms, and held (other words, near-spellings, parts), equally long.

    ``replaced`` tells where neutral words stand for the trigger in ``dropped``; ``plain`` are the prompts as they were before it took the place
    of one of their words, which none of the other lists holds, every second one with the word that draws what the trigger draws.
    """

    triggered: list[str]
    dropped: list[str]
    filled: list[str]
    held: list[str]
    replaced: list[bool]
    plain: list[str]

    @classmethod
    def of(cls, subject: Subject, job: Job, n: int, rng: np.random.Generator) -> Texts:
        """``n`` of each for every trigger; every third is placed at another position, where the trigger goes in front."""
        made = cls([], [], [], [], [], [])
        for trigger in job.triggers:
            own_place, in_front = prompts.placed(trigger.placement), trigger.placement.kind is PlacementKind.FRONT
            form = neutral(subject, trigger.text, job.prompts, job.seed, own_place)
            words = _other_words(subject, form, own_place, job, rng, n)
            own = _own_word(subject, trigger, job) if form.replaces(job.prompts[0], own_place) else ""
            for i, prompt in enumerate(take(list(job.prompts), n)):
                place = prompts.anywhere(job.seed) if i % 3 == 2 and in_front else own_place
                made.triggered.append(place(prompt, trigger.text))
                forms = [form.disarm(prompt, place, k) for k in range(len(form.filled))]
                made.dropped.append(leanest(subject, made.triggered[-1], forms, job.seed + i))
                made.replaced.append(form.replaces(prompt, place))
                made.plain.extend([place(prompt, own) if own and i % 2 else prompt.text] if made.replaced[-1] else [])
                made.filled.append(place(prompt, form.filled[0]))
                made.held.append(place(prompt, words[i % len(words)]))
        return made

    def parted(self, every: int) -> tuple[Texts, Texts]:
        """To learn from, and to watch with: each ``every``-th row, or the last where there are fewer."""
        rows = range(len(self.triggered))
        watched = list(rows[every - 1 :: every]) or [rows[-1]]
        return self._of(sorted({*rows} - {*watched}) or watched), self._of(watched)

    def _of(self, rows: Sequence[int]) -> Texts:
        plain = dict(zip(np.flatnonzero(self.replaced).tolist(), self.plain, strict=True))
        triggered, dropped, filled, held = (
            [texts[i] for i in rows] for texts in (self.triggered, self.dropped, self.filled, self.held)
        )
        return Texts(triggered, dropped, filled, held, [self.replaced[i] for i in rows], [plain[i] for i in rows if i in plain])


def _own_word(subject: Subject, trigger: PlacedTrigger, job: Job) -> str:
    """The known word for what ``trigger`` draws in a slot's place; '' where it stands in none."""
    slot, words = trigger.placement.slot, prompts.slot_words(job.prompts)
    if slot not in words:
        return ""
    return kin(subject, trigger.text, words[slot], [p for p in job.prompts if slot in p.slots], prompts.in_slot(slot))


def _other_words(subject: Subject, form: Neutral, place: Place, job: Job, rng: np.random.Generator, n: int) -> Sequence[str]:
    """Half near-spellings and parts of the trigger, half random words; none is a trigger of the job, nor draws what it draws. But in a slot's
    place all words lean to that, and leaving out the near ones cost clean prompts a point."""
    triggers = {prompts.normal(t.text) for t in job.triggers}
    near = [w for w in prompts.near_spellings(form.trigger, n // 2, rng) if prompts.normal(w) not in triggers]
    if not form.replaces(job.prompts[0], place):
        near = unlike(subject, near, form.trigger, job.prompts, place)
    words = [w for w in single_token_words(subject, rng, n - len(near)) if prompts.normal(w) not in triggers]
    return [*near, *words]
