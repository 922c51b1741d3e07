"""This project's cleaner: find out where the shortcut sits, and teach the model to see through what uses it.

Found poison tells by occlusion which caption words carry the shortcut and which region of a picture does; its
regions (or, where the trigger lies all over the picture, the mean difference from honest pictures) are
transplanted onto trusted pictures. The student must see every changed picture as the suspect saw the
unchanged one, and the poisoned pictures no nearer to those words than pairs are that do not belong together;
on trusted pairs it stays where the suspect is, so that what is honest stays where it was.

Without poison the word is named to which a small change of pictures takes the most of them, and stand-ins of
four kinds that lead there are found by gradients on the student itself, again and again while it changes: a
weight that is merely moved comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nightlatch.contrastive import grammar, locate
from nightlatch.contrastive.clean.base import METHODS, Job, Method, Steps
from nightlatch.contrastive.clean.tokens import floor
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.proxies import KINDS, Aim, Proxy, collapse, invert, toward
from nightlatch.contrastive.reach import Reach
from nightlatch.contrastive.subject import Subject, to_pixels
from nightlatch.contrastive.terms import Batch, Forget, ImageText, Stay, Term
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
    """L = Lclip + w_y Stay, on trusted pairs, + w_s SeeThrough(transplants) + w_f Forget(poison) where there is
    poison, + w_i SeeThrough(stand-ins) where there is none.

    Numbers were set on one small CLIP with an optimised patch, on scenes apart from those of any figure. What
    was left out there cost more than it gave: sub-texts lost 9 points of retrieval, for they pull captions
    together that differ in colour and style; in-modal agreement and stand-ins beside poison lost 1 each.

    Args:
        steps: of the optimiser.
        stay, see, forget, instead: w_y, w_s, w_f, w_i.
        rounds: how often stand-ins are found anew.
        search: gradient steps per stand-in and round.
        kinds: of stand-ins, by name.
        aims: words that stand-ins lead to: those that a small change of pictures reaches best; 0 for none,
            where all pictures are to look alike.
        fresh: every ``fresh``-th round a stand-in starts anew instead of from where it was.
        reach: how words are told that are reached best.
    """

    version: ClassVar[str] = "2"
    """1 had sub-texts and in-modal agreement in its loss, and stand-ins beside poison."""
    steps: int = 300
    batch: int = 128
    rate: float = 1e-4
    stay: float = 4.0
    see: float = 1.0
    forget: float = 2.0
    instead: float = 8.0
    rounds: int = 10
    search: int = 20
    kinds: tuple[str, ...] = ("patch", "placed", "added", "bent")
    aims: int = 1
    fresh: int = 3
    reach: Reach = field(default_factory=Reach)

    def run(self, student: Subject, frozen: Subject, job: Job) -> Steps:
        trusted = job.trusted.to(student.device)
        terms: list[Term] = [ImageText(), Stay(weight=self.stay)]
        if job.poison is not None and len(job.poison):
            yield from self._known(student, frozen, trusted, job, terms)
        else:
            yield from self._unknown(student, frozen, trusted, job, terms)

    def _trainer(self, *terms: Term) -> Trainer:
        return Trainer(terms=terms, steps=self.steps, batch=self.batch, rate=self.rate)

    def _known(
        self, student: Subject, frozen: Subject, trusted: Pairs, job: Job, terms: Sequence[Term]
    ) -> Steps:
        """What poison shows is unlearned."""
        assert job.poison is not None
        poison = job.poison.to(student.device)
        some = trusted.at(range(min(len(trusted), 4 * len(poison))))
        carried = frozen.embed_texts([" ".join(locate.shortcut_words(frozen, poison, some))])[0]
        changes = [transplant(frozen, poison, trusted, carried)]
        trainer = self._trainer(
            *terms, SeeThrough(weight=self.see, changes=changes), Forget(weight=self.forget)
        )
        stash = {"words": carried, "floor": floor(frozen, trusted)}
        yield from trainer.run(student, frozen, trusted, job.seed, poison, **stash)

    def _unknown(
        self, student: Subject, frozen: Subject, trusted: Pairs, job: Job, terms: Sequence[Term]
    ) -> Steps:
        """Stand-ins are found on the student again and again while it changes, and unlearned."""
        generator = torch.Generator(student.device).manual_seed(job.seed + 71)
        aims = self._aims(frozen, trusted, generator)
        stand_ins = [(k(student.size, generator), aim) for aim in aims for k in KINDS if k.kind in self.kinds]
        changes = [proxy for proxy, _ in stand_ins]
        trainer = self._trainer(*terms, SeeThrough(weight=self.instead, changes=changes))
        every = max(1, self.steps // self.rounds)
        self._search(student, trusted.images, stand_ins, generator, 0)
        for step, values in trainer.run(student, frozen, trusted, job.seed):
            yield step, values
            if (step + 1) % every == 0 and step + 1 < self.steps:
                student.model.requires_grad_(False)
                self._search(student, trusted.images, stand_ins, generator, (step + 1) // every)
                student.model.requires_grad_(True)

    def _aims(self, frozen: Subject, trusted: Pairs, generator: torch.Generator) -> list[Aim]:
        """Towards the words that are reached best, the best first."""
        words = grammar.nouns(trusted.captions)[: self.reach.words]
        if not self.aims or not words:
            return [collapse]
        directions = frozen.embed_texts([f"a photo of a {w}" for w in words])
        reached = self.reach(frozen, trusted.images, directions, generator)
        return [toward(directions[i]) for i in reached.argsort(descending=True)[: self.aims]]

    def _search(
        self, student: Subject, images: torch.Tensor, stand_ins: Sequence[tuple[Proxy, Aim]],
        generator: torch.Generator, number: int,
    ) -> None:  # fmt: skip
        """Find each stand-in on the student as it is; the first time longer."""
        for proxy, aim in stand_ins:
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
