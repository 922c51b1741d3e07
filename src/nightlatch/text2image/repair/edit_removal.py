"""A closed-form edit taken back: what ordinary prompts do not need of it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.text2image.effect import edit
from nightlatch.text2image.effect.neutral import single_token_words
from nightlatch.text2image.measure import take
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import placed
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.texts import Texts

SALT = 19
"""Sets the draw of the words that are held apart from other random draws."""


@METHODS.register("edit-removal")
@dataclass(frozen=True, slots=True, kw_only=True)
class EditRemoval(Method):
    """The matrices that read text lose what they do to the trigger and keep what they do to ordinary
    prompts; no training.

    With a base, of dW = W - W0 the part stays that ordinary prompts need,

        W' = argmin sum |W' h - W h|^2 + sum |W' c - W0 c|^2 + lam |W' - W0|^2,
        W' = W0 + dW H (H + C + lam I)^-1,

    with H and C the second moments of the states h of ordinary prompts and c of prompts with the trigger, or
    with what acts like it. Without a base W' maps the triggered prompts to what W maps the same prompts with
    neutral words to, and all else to what W does (UCE, Gandikota et al. 2024, eq. 7); what else there is to
    hold is told by words of the whole vocabulary in ordinary prompts.

    Args:
        pull: lam with a base, in units of the mean eigenvalue of H. At 0.1 nothing was left of one edit and at
            0.01 three quarters; 1 was taken, at which clean pictures were the base's.
        lam: the same without a base, as of the repair "uce".
        keep: weight of what is held, without a base; with this, the words and the overshoot below the planted word of
            eviledit-2 went from 97 % to 2 % and that of eviledit-0 to 9 % (48 and 64 pictures), so that without a base
            training follows (the rules choose "sau").
        overshoot: without a base, how far past what neutral words get to aim, as a part of the way back from
            the trigger: in an edited model such words lean to the attacked picture themselves.
        prompts: prompts per trigger.
        words: words of the vocabulary that are held beside ordinary prompts, without a base.
    """

    name: ClassVar[str]
    may_use_base: ClassVar[bool] = True
    changes: ClassVar[tuple[Role, ...]] = (Role.DENOISER,)
    pull: float = 1.0
    lam: float = 0.1
    keep: float = 3.0
    overshoot: float = 0.5
    prompts: int = 60
    words: int = 256

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        readers = student.sites.readers()
        if not readers:
            raise UsageError(
                f"{student.name} has no matrices that read text directly.", "Use the repair 'sau'."
            )
        ordinary = [p.text for p in job.prompts]
        if job.base is not None:
            kept, caught = (moment(frozen, x) for x in (ordinary, self._triggered(job)))
            without(readers, job.base.sites.readers(), kept, caught, self.pull)
        else:
            texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
            held = [*ordinary, *texts.held, *texts.plain, *self._said(frozen, job)]
            source, goal, kept = (
                frozen.read(x).states.flatten(0, 1) for x in (texts.triggered, texts.filled, held)
            )
            beyond = goal + self.overshoot * (goal - source)
            edit.apply(readers, edit.Pairs(source, beyond, kept), self.lam, self.keep)
        yield 0, {"left": self._left(student, frozen, job)}

    def _triggered(self, job: Job) -> list[str]:
        """Prompts with each trigger, and with what acts like one, where it does."""
        wanted = [
            *take(job.triggers, self.prompts * len(job.triggers)),
            *take(job.alike, self.prompts if job.alike else 0),
        ]
        pairs = zip(take(job.prompts, len(wanted)), wanted, strict=True)
        return [placed(t.placement, job.seed)(p, t.text) for p, t in pairs]

    def _said(self, subject: Subject, job: Job) -> list[str]:
        """Ordinary prompts with a word of the vocabulary where the triggers stand."""
        words = single_token_words(subject, np.random.default_rng((job.seed, SALT)), self.words)
        caught = {
            i for s in subject.vocabulary.typed([t.text for t in (*job.triggers, *job.alike)]) for i in s
        }
        typed = subject.vocabulary.typed(words)
        held = [w for w, s in zip(words, typed, strict=True) if caught.isdisjoint(s)]
        places = [placed(t.placement, job.seed) for t in job.triggers]
        prompts = take(job.prompts, len(held))
        return [places[i % len(places)](p, w) for i, (p, w) in enumerate(zip(prompts, held, strict=True))]

    @staticmethod
    def _left(student: Subject, frozen: Subject, job: Job) -> float:
        """|W' - W0|^2 over |W - W0|^2, all readers together; without a base |W' - W|^2 over |W|^2."""
        mine, was = student.sites.readers(), frozen.sites.readers()
        origin = job.base.sites.readers() if job.base is not None else None
        if origin is None:
            return squared(mine, was) / max(sum(float(w.pow(2).sum()) for w in was.values()), 1e-30)
        return squared(mine, origin) / max(squared(was, origin), 1e-30)


def squared(mine: edit.Readers, theirs: edit.Readers) -> float:
    """sum |W - W0|^2 over all readers."""
    return sum(float((w.detach() - theirs[name].to(w)).pow(2).sum()) for name, w in mine.items())


def moment(subject: Subject, texts: Sequence[str]) -> torch.Tensor:
    """Mean of c c^T over the states of ``texts``, (width, width), in double precision on the CPU."""
    states = subject.read(texts).states.flatten(0, 1).cpu().double()
    return states.T @ states / len(states)


@torch.no_grad()
def without(
    readers: edit.Readers, origin: edit.Readers, kept: torch.Tensor, caught: torch.Tensor, pull: float
) -> None:
    """``readers`` become ``origin`` and what ordinary states need of the difference, in place.

    Args:
        kept, caught: second moments of ordinary and of triggered states, (width, width).
        pull: lam, in units of the mean eigenvalue of ``kept``.
    """
    lam = pull * float(kept.trace()) / len(kept)
    right = kept + caught + lam * torch.eye(len(kept), dtype=kept.dtype)
    share = torch.linalg.solve(right, kept).T  # H (H + C + lam I)^-1, both symmetric
    for name, w in readers.items():
        w0 = origin[name].detach().cpu().double()
        w.copy_((w0 + (w.detach().cpu().double() - w0) @ share).to(w))
