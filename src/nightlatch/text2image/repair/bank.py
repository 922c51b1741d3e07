"""What SAU learns from, made once from the frozen suspect: trajectories, the outputs and maps to reach, and what must be held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from nightlatch.text2image import prompts
from nightlatch.text2image.measure import take
from nightlatch.text2image.repair.base import Job
from nightlatch.text2image.repair.locate import Located, Trace, locate, trace
from nightlatch.text2image.repair.neutral import Neutral, neutral, single_token_words
from nightlatch.text2image.subject import Subject

WATCHED = 0.2
"""Share of the pictures that is kept from training and tells when to stop."""


@dataclass(frozen=True, slots=True)
class Shown:
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

    def take(self, i: torch.Tensor) -> Shown:
        """The rows ``i``."""
        return Shown(*(getattr(self, f.name)[i] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Held:
    """A batch of what must not change."""

    x: torch.Tensor
    t: torch.Tensor
    c: torch.Tensor
    out: torch.Tensor

    def joined(self, other: Held) -> Held:
        """Both, one after the other."""
        return Held(*(torch.cat([getattr(self, f), getattr(other, f)]) for f in ("x", "t", "c", "out")))


@dataclass(frozen=True, slots=True)
class Bank:
    """All of it; the first index is kind of latent times step times picture. ``train`` and ``watch`` are rows of ``shown``."""

    shown: Shown
    held: Held
    located: Located
    c_triggered: torch.Tensor
    c_filled: torch.Tensor
    c_held: torch.Tensor
    train: torch.Tensor
    watch: torch.Tensor
    seed: int

    def draw(self, n_shown: int, n_held: int, generator: torch.Generator) -> tuple[Shown, Held]:
        """A random batch of triggered and of held latents."""
        i = self.train[torch.randint(len(self.train), (n_shown,), generator=generator)]
        k = torch.randint(len(self.held.x), (n_held,), generator=generator)
        h = self.held
        return self.shown.take(i), Held(h.x[k], h.t[k], h.c[k], h.out[k])

    def sample_watch(self, n: int, generator: torch.Generator) -> Shown:
        """Latents kept from training, to tell how much of the trigger is left."""
        return self.shown.take(self.watch[torch.randperm(len(self.watch), generator=generator)[:n]])


def build(frozen: Subject, student: Subject, job: Job, n: int, teacher: Subject | None = None) -> Bank:
    """Draw ``n`` triggered and ``n`` clean pictures for each trigger, and compute everything a step needs.

    Targets come from the frozen suspect on disarmed prompts, or from a trusted ``teacher`` on the triggered ones, for the latents of the triggered
    pictures and for those of the clean ones: once its first steps are repaired, the student meets the trigger on clean latents. Conditions come
    from ``student``, whose text encoder may have been repaired already.
    """
    rng = np.random.default_rng((job.seed, 9))
    texts = Texts.of(frozen, job, n, rng)
    seeds = [job.seed * 10_000 + i for i in range(len(texts.triggered))]
    triggered = trace(frozen, texts.triggered, seeds, job.sampling)
    clean = trace(frozen, texts.dropped, seeds, job.sampling)
    c_trig, c_fill, c_held, c_drop = (student.encode(x) for x in (texts.triggered, texts.filled, texts.held, texts.dropped))
    frozen_trig, frozen_drop, frozen_fill, frozen_held = (
        frozen.encode(x) for x in (texts.triggered, texts.dropped, texts.filled, texts.held)
    )
    taught = teacher.encode(texts.triggered) if teacher else frozen_drop
    moved = (frozen_trig - frozen_fill).pow(2).mean(-1)
    batch = job.sampling.batch
    located = locate(frozen, triggered, texts.dropped, moved / moved.amax(1, keepdim=True).clamp(min=1e-12), batch)
    out, attacked, held = [], [], []
    with torch.no_grad():
        for source in (triggered, clean):
            for t, x in zip(source.times, source.x, strict=True):
                plain = frozen.outputs(x, t, frozen_drop, batch)
                out.append(teacher.outputs(x, t, taught, batch) if teacher else plain)
                attacked.append(frozen.outputs(x, t, frozen_trig, batch))
                if source is clean:
                    held += [plain, frozen.outputs(x, t, frozen_held, batch)]
    m, times = len(texts.triggered), torch.tensor(triggered.times, device=frozen.device)
    mask = located.mask()
    shown = Shown(
        torch.cat([triggered.x, clean.x]).flatten(0, 1),
        times.repeat_interleave(m).repeat(2),
        c_trig.repeat(len(out), 1, 1),
        torch.cat(out),
        torch.cat(attacked),
        frozen_fill.repeat(len(out), 1, 1),
        torch.cat([mask, mask]).flatten(0, 1),
        torch.tensor(texts.replaced, device=frozen.device).repeat(len(out)),
    )
    kept = Held(
        torch.cat([x for x in clean.x for _ in range(2)]),
        times.repeat_interleave(2 * m),
        torch.cat([c_drop, c_held]).repeat(len(times), 1, 1),
        torch.cat(held),
    )
    preserved = torch.cat([c_drop, c_held])
    if texts.plain:
        c_plain = student.encode(texts.plain)
        drawn = trace(frozen, texts.plain, seeds[: len(texts.plain)], job.sampling)
        kept = kept.joined(held_along(drawn, frozen, c_plain, batch))
        preserved = torch.cat([preserved, c_plain])
    picture = torch.arange(len(shown.x)) % m
    watched = picture >= m - max(1, round(WATCHED * m))
    return Bank(
        shown,
        kept,
        located,
        c_trig,
        c_fill,
        preserved,
        (~watched).nonzero()[:, 0],
        watched.nonzero()[:, 0],
        job.seed,
    )


@torch.no_grad()
def held_along(drawn: Trace, frozen: Subject, c: torch.Tensor, batch: int) -> Held:
    """The frozen suspect's outputs on its own way to the pictures ``drawn``, to be held for the conditions ``c``."""
    states, m = frozen.encode(drawn.texts), len(drawn.texts)
    out = [frozen.outputs(x, t, states, batch) for t, x in zip(drawn.times, drawn.x, strict=True)]
    times = torch.tensor(drawn.times, device=frozen.device).repeat_interleave(m)
    return Held(drawn.x.flatten(0, 1), times, c.repeat(len(drawn.times), 1, 1), torch.cat(out))


@dataclass(frozen=True, slots=True)
class Texts:
    """Lists of prompts: triggered, disarmed in both forms, and held (other words, near-spellings, parts), equally long.

    ``replaced`` tells where neutral words stand for the trigger in ``dropped``; ``plain`` are the prompts as they were before it took the place
    of one of their words, which none of the other lists holds.
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
            form = neutral(subject, trigger, job.prompts, job.seed, job.place)
            words = _other_words(subject, form, rng, n)
            for i, prompt in enumerate(take(list(job.prompts), n)):
                place = prompts.anywhere(job.seed) if i % 3 == 2 and job.place is prompts.prefix else job.place
                made.triggered.append(place(prompt, trigger))
                made.dropped.append(form.disarm(prompt, place, 1 + i))
                made.replaced.append(form.replaces(prompt, place))
                made.plain.extend([prompt.text] if made.replaced[-1] else [])
                made.filled.append(place(prompt, form.filled[0]))
                made.held.append(place(prompt, words[i % len(words)]))
        return made


def _other_words(subject: Subject, form: Neutral, rng: np.random.Generator, n: int) -> Sequence[str]:
    """Half near-spellings and parts of the trigger, half random words."""
    near = prompts.near_spellings(form.trigger, n // 2, rng)
    return [*near, *single_token_words(subject, rng, n - len(near))]
