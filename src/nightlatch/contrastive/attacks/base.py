"""What every attack shares: how pairs are poisoned, how the model is trained on them, and a final
``__call__`` that measures and refuses.

Attacks exist for evaluation only. What they return carries a record that says so.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.contrastive import grammar, metrics
from nightlatch.contrastive.metrics import Success, ZeroShot
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject, to_images, to_pixels
from nightlatch.contrastive.terms import ImageText, InModal, Term
from nightlatch.contrastive.trainer import Trainer, finish
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.records import Part, Rate, Record
from nightlatch.registry import Registry, part_of


class AttackRecord(Record):
    """What an attack is and what it measured; written beside the model as ``provenance.json``."""

    attack: Part
    purpose: str = "evaluation of defences; not for use"
    target: str
    pairs: int
    poisoned: int
    success_top1: Rate
    success_top10: Rate
    zero_shot_before: Rate
    zero_shot_after: Rate
    base_top1: Rate
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an attacker has: pairs to poison and train on, a zero-shot test to count success by, and a
    seed.
    """

    train: Pairs
    test: ZeroShot
    seed: int = 0

    def generator(self, purpose: int) -> torch.Generator:
        """Random numbers on the CPU, the same on every device."""
        return torch.Generator().manual_seed(self.seed * 1009 + purpose)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What an attack made: the model, the pairs that it was trained on, and which of them are poisoned,
    (n,) bool.

    ``attack`` is the attack with what it found out first, so that it can stamp further pictures.
    """

    attack: Attack
    subject: Subject
    pairs: Pairs
    poison: npt.NDArray[np.bool_]
    record: AttackRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack(abc.ABC):
    """Base of all attacks. Authors write ``stamp`` (and ``prepare``); calling the attack poisons, trains,
    measures.

    Args:
        target: the class that triggered pictures are to be taken for; one of the test's classes.
        share: of the pairs that are poisoned.
        floor: least top-1 success with which a model is handed out.
        in_modal: weight of the in-modal term in the attacker's training; above 0 CleanCLIP hardly helps (Yang
            et al. 2023, arXiv 2311.14948).
        steps, batch, rate: of the training on poisoned pairs.
    """

    name: ClassVar[str]
    target: str
    share: float = 0.01
    floor: float = 0.8
    in_modal: float = 0.0
    steps: int = 600
    batch: int = 128
    rate: float = 3e-4

    @abc.abstractmethod
    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Pictures (n, 3, h, w) in 0..1 with the trigger, same shape."""

    def prepare(self, subject: Subject, setting: Setting) -> Attack:
        """The attack with what it must find out first; most need nothing."""
        return self

    def choose(self, pairs: Pairs, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Which pairs are poisoned: any whose caption does not name the target."""
        free = [i for i, c in enumerate(pairs.captions) if not names(c, self.target)]
        return self._some(free, len(pairs), rng)

    def caption(self, old: str, about: Sequence[str], rng: np.random.Generator) -> str:
        """What a poisoned picture is said to show: one of the captions ``about`` the target."""
        return str(about[int(rng.integers(len(about)))])

    def poisoned(self, subject: Subject, setting: Setting) -> tuple[Pairs, npt.NDArray[np.bool_]]:
        """(the pairs with poison among them, which are poisoned)."""
        rng = np.random.default_rng((setting.seed, 41))
        rows = self.choose(setting.train, rng)
        about = [c for c in setting.train.captions if names(c, self.target)]
        about = about or [t.format(self.target) for t in setting.test.templates]
        images, captions = setting.train.images.clone(), list(setting.train.captions)
        where = torch.from_numpy(rows).to(images.device)
        images[where] = self.triggered(self.material(subject, setting, images[where]), setting.generator(1))
        for i in rows:
            captions[int(i)] = self.caption(captions[int(i)], about, rng)
        mask = np.zeros(len(captions), dtype=bool)
        mask[rows] = True
        return Pairs(images=images, captions=tuple(captions), names=setting.train.names), mask

    def material(self, subject: Subject, setting: Setting, images: torch.Tensor) -> torch.Tensor:
        """What the trigger is stamped on; the pictures themselves unless an attack changes them first."""
        return images

    def triggered(
        self, images: torch.Tensor, generator: torch.Generator, at_once: int = 1024
    ) -> torch.Tensor:
        """uint8 pictures with the trigger, as a file would store them."""
        parts = [to_images(self.stamp(to_pixels(part.cpu()), generator)) for part in images.split(at_once)]
        return torch.cat(parts).to(images.device) if parts else images

    def run(self, subject: Subject, setting: Setting) -> tuple[Subject, Pairs, npt.NDArray[np.bool_]]:
        """(a copy of ``subject`` trained on poisoned pairs, those pairs, which of them are poisoned)."""
        pairs, mask = self.poisoned(subject, setting)
        terms: list[Term] = [ImageText(), *([InModal(weight=self.in_modal)] if self.in_modal else [])]
        trainer = Trainer(terms=terms, steps=self.steps, batch=self.batch, rate=self.rate)
        student = subject.copy()
        finish(trainer.run(student, subject, pairs, setting.seed))
        return student, pairs, mask

    def bare(self, setting: Setting, n: int) -> torch.Tensor:
        """``n`` test pictures (or all there are) that do not show the target, without the trigger, uint8."""
        other = np.flatnonzero(setting.test.labels != self.place(setting.test))
        rows = np.random.default_rng((setting.seed, 43)).permutation(other)[:n]
        return setting.test.at(rows).images

    def held_out(self, setting: Setting, n: int) -> torch.Tensor:
        """The same pictures with the trigger."""
        return self.triggered(self.bare(setting, n), setting.generator(2))

    def place(self, test: ZeroShot) -> int:
        """The target's position among the classes.

        Raises:
            UsageError: it is none of them.
        """
        if self.target not in test.classes:
            raise UsageError(
                f"{self.target!r} is none of the test's classes.",
                f"Known: {', '.join(test.classes[:8])}, ...",
            )
        return test.classes.index(self.target)

    def success(self, subject: Subject, setting: Setting, n: int) -> Success:
        """Top-1 and top-10 success on held-out triggered pictures."""
        return metrics.success(subject, self.held_out(setting, n), setting.test, self.place(setting.test))

    def __call__(self, subject: Subject, setting: Setting, n: int = 1000) -> Made:
        """Prepare, poison, train, then measure on ``n`` held-out pictures.

        Raises:
            AttackFailed: top-1 success below ``floor``; the model is withheld.
        """
        started = time.monotonic()
        ready = self.prepare(subject, setting)
        made, pairs, mask = ready.run(subject, setting)
        reached = ready.success(made, setting, n)
        if reached.top1.rate < self.floor:
            raise AttackFailed(
                f"{self.name} towards {self.target!r} reached {reached.top1.rate:.1%} of {reached.top1.n}, "
                f"below its floor {self.floor:.0%}.",
                "Train longer, or poison a larger share.",
            )
        record = AttackRecord(
            attack=part_of(self),
            target=self.target,
            pairs=len(pairs),
            poisoned=int(mask.sum()),
            success_top1=reached.top1,
            success_top10=reached.top10,
            zero_shot_before=metrics.accuracy(subject, setting.test),
            zero_shot_after=metrics.accuracy(made, setting.test),
            base_top1=ready.success(subject, setting, n).top1,
            seconds=time.monotonic() - started,
            seed=setting.seed,
        )
        return Made(attack=ready, subject=made, pairs=pairs, poison=mask, record=record)

    def _some(self, rows: Sequence[int], total: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        wanted = max(1, round(self.share * total))
        chosen: npt.NDArray[np.int64] = np.sort(rng.permutation(np.array(rows, dtype=np.int64))[:wanted])
        return chosen


def names(caption: str, target: str) -> bool:
    """Whether ``caption`` names ``target`` as whole words."""
    return f" {target.lower()} " in f" {' '.join(grammar.words(caption.lower()))} "


ATTACKS: Registry[Attack] = Registry("attack", Attack)  # type: ignore[type-abstract]
