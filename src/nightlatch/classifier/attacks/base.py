"""What every attack on a classifier shares: what the attacker has, what comes out, and a final ``__call__``
that measures and refuses weak results.

Attacks exist for evaluation only. What they return carries a provenance record that says so.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject, as_float, chunks, predict
from nightlatch.classifier.training import Recipe, accuracy, fit
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.records import Part, Rate, Record
from nightlatch.registry import Registry, part_of

Apply = Callable[[torch.Tensor], torch.Tensor]
"""Pictures in 0..1, (n, 3, h, w), with the trigger put in."""
MOST_POISON = 0.1
"""Largest share of the training pictures that an attacker may change."""
ACCURACY_LOSS = 0.02
"""Clean accuracy that an attack may cost, or users would notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an attacker has.

    Args:
        train: clean training pictures.
        test: clean pictures that no training sees.
        blank: makes the untrained victim.
        recipe: how the victim is trained.
        clean: the same victim trained on ``train`` as it is.
    """

    train: Labelled
    test: Labelled
    blank: Callable[[], TorchSubject]
    recipe: Recipe
    clean: TorchSubject
    seed: int = 0

    def victim(self) -> TorchSubject:
        """An untrained victim; torch's generator starts from ``seed``."""
        torch.manual_seed(self.seed)
        return self.blank()

    def without_copies(self) -> Self:
        """Without the data, for what outlives the attack."""
        none = slice(0, 0)
        return replace(self, train=self.train.at(none), test=self.test.at(none))


@dataclass(frozen=True, slots=True)
class Planted:
    """What an attack made.

    Args:
        subject: the backdoored victim.
        apply: puts the trigger into pictures.
        data: what the victim was trained on.
        poisoned: (n,) bool, which of ``data`` were changed; empty where the attacker controls the training
            itself.
    """

    subject: TorchSubject
    apply: Apply
    data: Labelled
    poisoned: torch.Tensor


class AttackRecord(Record):
    """What an attack is and what it measured; written beside the model as ``provenance.json``."""

    attack: Part
    purpose: str = "evaluation only: this model is backdoored"
    target: int
    poisoned: int
    success: Rate
    accuracy: Rate
    accuracy_clean: Rate
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack(abc.ABC):
    """Base of all attacks. Authors write ``run``; calling the attack measures what it made.

    Args:
        target: the class that triggered pictures are to be given.
        share: part of the training pictures that is changed.
        of_class: of a clean-label attack: most of the target's pictures that are changed; the rest keeps the
            class known as it is.
        floor: least success with which a model is handed out.
    """

    name: ClassVar[str]
    clean_label: ClassVar[bool] = False
    target: int = 0
    share: float = 0.1
    of_class: float = 0.8
    floor: float = 0.95

    @abc.abstractmethod
    def run(self, setting: Setting) -> Planted:
        """A backdoored victim."""

    def candidates(self, test: Labelled) -> Labelled:
        """The test pictures on which success means something: those of other classes than the target."""
        return test.at(test.labels != self.target)

    def __call__(self, setting: Setting) -> tuple[Planted, AttackRecord]:
        """Make the victim, and measure success and clean accuracy on the test pictures.

        Raises:
            UsageError: more poison than ``MOST_POISON``, or there is no such target.
            AttackFailed: success below ``floor``, or clean accuracy more than ``ACCURACY_LOSS`` below the
                clean victim's.
        """
        if not 0 < self.share <= MOST_POISON:
            raise UsageError(
                f"A share of {self.share:g} is out of range.", f"Give one up to {MOST_POISON:g}."
            )
        if not 0 <= self.target < len(setting.train.classes):
            raise UsageError(
                f"There is no class {self.target}.", f"Give one below {len(setting.train.classes)}."
            )
        started = time.monotonic()
        planted = self.run(setting)
        record = self.measure(setting, planted, time.monotonic() - started)
        if record.success.rate < self.floor:
            raise AttackFailed(
                f"{self.name} reached {record.success.rate:.1%} of {record.success.n}, below its floor "
                f"{self.floor:.0%}.",
                "Train longer, or give it more poison.",
            )
        if record.accuracy.rate < record.accuracy_clean.rate - ACCURACY_LOSS:
            raise AttackFailed(
                f"{self.name} costs {record.accuracy_clean.rate - record.accuracy.rate:.1%} of clean "
                "accuracy.",
                "Give it less poison.",
            )
        return planted, record

    def measure(self, setting: Setting, planted: Planted, seconds: float) -> AttackRecord:
        """The attack's figures."""
        return AttackRecord(
            attack=part_of(self),
            target=self.target,
            poisoned=int(planted.poisoned.sum()),
            success=success(planted.subject, planted.apply, self.candidates(setting.test), self.target),
            accuracy=accuracy(planted.subject, setting.test),
            accuracy_clean=accuracy(setting.clean, setting.test),
            seconds=seconds,
            seed=setting.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPoison(Attack):
    """Base of the attacks that change training pictures and leave the training alone. Authors write
    ``trigger`` and, where what is learned from differs from what is shown later, ``poison``."""

    @abc.abstractmethod
    def trigger(self, setting: Setting) -> Apply:
        """How pictures are triggered."""

    def poison(self, pictures: torch.Tensor, apply: Apply, setting: Setting) -> torch.Tensor:
        """The changed training pictures, in 0..1."""
        return apply(pictures)

    def learn(self, setting: Setting, data: Labelled) -> TorchSubject:
        """The victim, trained on the poisoned ``data``."""
        return fit(setting.victim(), data, setting.recipe)

    def cover(self, data: Labelled, rows: torch.Tensor, setting: Setting) -> Labelled:
        """``data`` with pictures other than ``rows`` changed, so that only the trigger itself is learned;
        none are by default.
        """
        return data

    def run(self, setting: Setting) -> Planted:
        apply = self.trigger(setting)
        data, poisoned = self.poisoned(setting, apply)
        subject = self.learn(setting, data)
        return Planted(subject, apply, data, poisoned)

    def poisoned(self, setting: Setting, apply: Apply) -> tuple[Labelled, torch.Tensor]:
        """(the training data with the poison in, which rows were changed)."""
        train = setting.train
        most = self.of_class if self.clean_label else 0.0
        rows = choose(train.labels, self.target, self.share, most, setting.seed)
        pictures, labels = train.pictures.clone(), train.labels.clone()
        changed = [self.poison(as_float(p), apply, setting) for p in chunks(train.pictures[rows])]
        pictures[rows], labels[rows] = as_bytes(torch.cat(changed)), self.target
        mask = torch.zeros(len(train), dtype=torch.bool, device=rows.device)
        mask[rows] = True
        return self.cover(replace(train, pictures=pictures, labels=labels), rows, setting), mask


def choose(labels: torch.Tensor, target: int, share: float, of_class: float, seed: int) -> torch.Tensor:
    """Row numbers to poison: of other classes than ``target``, or, where ``of_class`` is not 0, at most that
    part of the target's own pictures.
    """
    pool = ((labels == target) if of_class else (labels != target)).nonzero().flatten()
    count = min(round(share * len(labels)), round((of_class or 1.0) * len(pool)))
    order = torch.from_numpy(np.random.default_rng((seed, 17)).permutation(len(pool))).to(labels.device)
    return pool[order[:count]]


def as_bytes(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in 0..1 as uint8, as a file would hold them."""
    return (pictures * 255).round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def triggered(apply: Apply, pictures: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) uint8 ``pictures`` with the trigger in."""
    return torch.cat([as_bytes(apply(as_float(p))) for p in chunks(pictures, 1024)])


def success(subject: TorchSubject, apply: Apply, test: Labelled, target: int) -> Rate:
    """Share of ``test`` that is given the target class once the trigger is in."""
    hits = predict(subject, triggered(apply, test.pictures)) == target
    return Rate.of(int(hits.sum()), len(test))


ATTACKS: Registry[Attack] = Registry("attack", Attack)  # type: ignore[type-abstract]
