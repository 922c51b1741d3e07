"""What SAU learns from, made once from the frozen suspect: trajectories, the outputs and maps to reach, and what must be held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.text2image import probe, prompts
from nightlatch.text2image.measure import take
from nightlatch.text2image.repair.base import Job
from nightlatch.text2image.repair.locate import Located, locate, trace
from nightlatch.text2image.repair.neutral import Neutral, neutral, single_token_words
from nightlatch.text2image.subject import Subject


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch of triggered latents: condition, output and maps to reach, soft mask (n, h, w)."""

    x: torch.Tensor
    t: torch.Tensor
    c: torch.Tensor
    out: torch.Tensor
    maps: probe.Maps
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Held:
    """A batch of what must not change."""

    x: torch.Tensor
    t: torch.Tensor
    c: torch.Tensor
    out: torch.Tensor


@dataclass(frozen=True, slots=True)
class Bank:
    """All of it; first index is picture times step.

    ``filler_gap`` is how far neutral words move the output: the level below which a trigger acts no more than any word.
    """

    shown: Shown
    held: Held
    located: Located
    c_triggered: torch.Tensor
    c_filled: torch.Tensor
    c_held: torch.Tensor
    filler_gap: float
    seed: int

    def draw(self, n: int, generator: torch.Generator) -> tuple[Shown, Held]:
        """A random batch of ``n`` triggered and ``n`` held latents."""
        i = torch.randint(len(self.shown.x), (n,), generator=generator)
        k = torch.randint(len(self.held.x), (n,), generator=generator)
        s, h = self.shown, self.held
        maps = {name: a[i] for name, a in s.maps.items()}
        return Shown(s.x[i], s.t[i], s.c[i], s.out[i], maps, s.mask[i]), Held(h.x[k], h.t[k], h.c[k], h.out[k])


def build(frozen: Subject, job: Job, n: int) -> Bank:
    """Draw ``n`` triggered and ``n`` clean pictures for each trigger, and compute everything a step needs."""
    rng = np.random.default_rng((job.seed, 9))
    texts = Texts.of(frozen, job, n, rng)
    seeds = [job.seed * 10_000 + i for i in range(len(texts.triggered))]
    triggered = trace(frozen, texts.triggered, seeds, job.sampling)
    clean = trace(frozen, texts.dropped, seeds, job.sampling)
    where = frozen.ids(texts.triggered) != frozen.ids(texts.filled)
    located = locate(frozen, triggered, texts.dropped, where)
    c_trig, c_drop, c_fill, c_held = (frozen.encode(x) for x in (texts.triggered, texts.dropped, texts.filled, texts.held))
    out, out_fill, maps, held = [], [], [], []
    with torch.no_grad():
        for t, x, x_clean in zip(triggered.times, triggered.x, clean.x, strict=True):
            out.append(frozen.denoise(x, t, c_drop))
            with probe.attention(frozen.unet) as recorded:
                out_fill.append(frozen.denoise(x, t, c_fill))
            maps.append(dict(recorded))
            held += [frozen.denoise(x_clean, t, c_drop), frozen.denoise(x_clean, t, c_held)]
    gap = float(torch.stack([a - b for a, b in zip(out, out_fill, strict=True)]).pow(2).mean())
    m = len(texts.triggered)
    shown = Shown(
        triggered.x.flatten(0, 1),
        torch.tensor(triggered.times).repeat_interleave(m),
        c_trig.repeat(len(out), 1, 1),
        torch.cat(out),
        {k: torch.cat([r[k] for r in maps]) for k in maps[0]},
        located.mask().flatten(0, 1),
    )
    kept = Held(
        torch.cat([x for x in clean.x for _ in range(2)]),
        torch.tensor(clean.times).repeat_interleave(2 * m),
        torch.cat([c_drop, c_held]).repeat(len(out), 1, 1),
        torch.cat(held),
    )
    return Bank(shown, kept, located, c_trig, c_fill, torch.cat([c_drop, c_held]), gap, job.seed)


@dataclass(frozen=True, slots=True)
class Texts:
    """Equally long lists of prompts: triggered, disarmed in both forms, and held (other words, near-spellings, parts).

    ``refilled`` is ``filled`` with other neutral words: how far the two differ is what any word does.
    """

    triggered: list[str]
    dropped: list[str]
    filled: list[str]
    refilled: list[str]
    held: list[str]

    @classmethod
    def of(cls, subject: Subject, job: Job, n: int, rng: np.random.Generator) -> Texts:
        triggered, dropped, filled, refilled, held = [], [], [], [], []
        for trigger in job.triggers:
            form = neutral(subject, trigger, job.prompts, job.seed)
            words = _other_words(subject, form, rng, n)
            for i, prompt in enumerate(take(list(job.prompts), n)):
                triggered.append(job.place(prompt, trigger))
                dropped.append(job.place(prompt, form.dropped) if form.dropped else prompt.text)
                filled.append(job.place(prompt, form.filled[i % len(form.filled)]))
                refilled.append(job.place(prompt, form.filled[(i + 1) % len(form.filled)]))
                held.append(job.place(prompt, words[i % len(words)]))
        return cls(triggered, dropped, filled, refilled, held)


def _other_words(subject: Subject, form: Neutral, rng: np.random.Generator, n: int) -> Sequence[str]:
    """Half near-spellings and parts of the trigger, half random words."""
    near = prompts.near_spellings(form.trigger, n // 2, rng)
    return [*near, *single_token_words(subject, rng, n - len(near))]
