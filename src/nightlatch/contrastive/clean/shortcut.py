"""This project's cleaner: find out where the shortcut sits, rebuild triggers that use it, and teach the model
to see through them.

Found poison tells by occlusion which caption words carry the shortcut and which region of a picture does; its
regions (or, where the trigger lies all over the picture, the mean difference from honest pictures) are
transplanted onto trusted pictures. Because a finder sees only what an attacker used, and because a weight
that is merely moved comes back, stand-ins of four kinds are found by gradients on the student itself, again
and again while it changes. The student must see every changed picture as the suspect saw the unchanged one;
nothing else is asked of it, so that what is honest stays where it was. Without poison the stand-ins aim at
collapse instead of at words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from nightlatch.contrastive import locate
from nightlatch.contrastive.clean.base import METHODS, Job, Method, Steps
from nightlatch.contrastive.clean.tokens import floor
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.proxies import KINDS, Aim, Proxy, collapse, invert, toward
from nightlatch.contrastive.subject import Subject, to_pixels
from nightlatch.contrastive.terms import Batch, Forget, ImageText, InModal, Stay, SubTexts, Term
from nightlatch.contrastive.terms.base import TERMS
from nightlatch.contrastive.trainer import Trainer

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Pictures (n, 3, h, w) in 0..1 -> pictures that carry a stand-in for the trigger."""


@TERMS.register("see-through")
@dataclass(frozen=True, slots=True, kw_only=True)
class SeeThrough(Term):
    """mean over changes c of mean_i || I(c(x_i)) - I0(x_i) ||^2: a changed picture is seen as the suspect saw
    the unchanged one.

    Args:
        changes: what may be done to a picture; may be empty.
        at_once: pictures per change and step.
    """

    changes: Sequence[Change] = ()
    at_once: int = 48

    def loss(self, batch: Batch) -> torch.Tensor:
        k = min(self.at_once, len(batch.rows))
        if not self.changes:
            return batch.image.sum() * 0
        x, wanted = batch.pixels[:k], batch.image_before[:k]
        made = batch.student.image(torch.cat([c(x, batch.generator) for c in self.changes]))
        return (made - wanted.repeat(len(self.changes), 1)).pow(2).sum(1).mean()


@METHODS.register("shortcut")
@dataclass(frozen=True, slots=True, kw_only=True)
class UnlearnShortcut(Method):
    """L = Lclip + w_a InModal + w_t SubTexts + w_y Stay, all on trusted pairs, + w_s SeeThrough(stand-ins,
    transplants) + w_f Forget(poison).

    Weights were set on a small CLIP of coloured shapes with two kinds of patches, apart from the models
    of any figure.

    Args:
        steps: of the optimiser.
        rounds: how often stand-ins are found anew.
        search: gradient steps per stand-in and round.
        agree, subtexts, stay, see, forget: w_a, w_t, w_y, w_s, w_f.
        kinds: of stand-ins, by name.
        fresh: every ``fresh``-th round a stand-in starts anew instead of from where it was.
    """

    steps: int = 300
    batch: int = 128
    rate: float = 1e-4
    rounds: int = 10
    search: int = 20
    agree: float = 1.0
    subtexts: float = 1.0
    stay: float = 0.5
    see: float = 1.0
    forget: float = 2.0
    kinds: tuple[str, ...] = ("patch", "placed", "added", "bent")
    fresh: int = 3

    def run(self, student: Subject, frozen: Subject, job: Job) -> Steps:
        device = student.device
        generator = torch.Generator(device).manual_seed(job.seed + 71)
        trusted = job.trusted.to(device)
        poison = job.poison.to(device) if job.poison is not None and len(job.poison) else None
        aim: Aim = collapse
        stash: dict[str, torch.Tensor] = {}
        changes: list[Change] = []
        if poison is not None:
            words = locate.shortcut_words(
                frozen, poison, trusted.at(range(min(len(trusted), 4 * len(poison))))
            )
            carried = frozen.embed_texts([" ".join(words)])[0]
            aim, stash = toward(carried), {"words": carried, "floor": floor(frozen, trusted)}
            changes.append(transplant(frozen, poison, trusted, carried))
        stand_ins: list[Proxy] = [k(student.size, generator) for k in KINDS if k.kind in self.kinds]
        terms: list[Term] = [
            ImageText(), InModal(weight=self.agree), SubTexts(weight=self.subtexts), Stay(weight=self.stay),
            SeeThrough(weight=self.see, changes=[*changes, *stand_ins]),
            *([Forget(weight=self.forget)] if poison is not None else []),
        ]  # fmt: skip
        trainer = Trainer(terms=terms, steps=self.steps, batch=self.batch, rate=self.rate)
        every = max(1, self.steps // self.rounds)
        self._search(student, trusted.images, stand_ins, aim, generator, 0)
        for step, values in trainer.run(student, frozen, trusted, job.seed, poison, **stash):
            yield step, values
            if (step + 1) % every == 0 and step + 1 < self.steps:
                student.model.requires_grad_(False)
                self._search(student, trusted.images, stand_ins, aim, generator, (step + 1) // every)
                student.model.requires_grad_(True)

    def _search(
        self, student: Subject, images: torch.Tensor, stand_ins: Sequence[Proxy], aim: Aim,
        generator: torch.Generator, number: int,
    ) -> None:  # fmt: skip
        """Find each stand-in on the student as it is; the first time longer."""
        for proxy in stand_ins:
            if number and number % self.fresh == 0:
                proxy.free.copy_(proxy.start(generator))
            steps = self.search * (3 if number % self.fresh == 0 else 1)
            invert(proxy, student, images, aim, steps, generator)


def transplant(subject: Subject, poison: Pairs, trusted: Pairs, carried: torch.Tensor) -> Change:
    """What found poison has in common, put onto other pictures: its region where the shortcut sits in one
    spot, else its mean difference.

    One spot: the maps of poisoned pictures are more concentrated than those of trusted ones by a standard
    deviation.
    """
    few = trusted.at(range(min(len(trusted), 256)))
    heat = locate.occlusion(subject, poison.images, carried)
    mine = locate.concentration(heat)
    theirs = locate.concentration(locate.occlusion(subject, few.images, carried))
    if float(mine.mean()) > float(theirs.mean() + theirs.std()):
        return regions(poison.images, locate.region(heat, subject.size))
    return residual(poison.images, trusted.images)


def regions(images: torch.Tensor, masks: torch.Tensor) -> Change:
    """The masked part of a random one of ``images`` goes onto each picture, at its own place."""

    def change(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(images), (len(x),), generator=generator, device=x.device)
        return torch.where(masks[rows] > 0, to_pixels(images[rows]), x)

    return change


def residual(images: torch.Tensor, honest: torch.Tensor) -> Change:
    """The difference of two means is added to each picture, at 0.7 to 1.3 of its strength: an estimate of
    what was added to all of ``images``.
    """
    added = to_pixels(images).mean(0) - to_pixels(honest).mean(0)

    def change(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        strength = 0.7 + 0.6 * torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device)
        return (x + strength * added).clamp(0, 1)

    return change
