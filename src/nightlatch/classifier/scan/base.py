"""Does a classifier hide a backdoor? What every scanner shares: a score and a trigger for each class, and a
final ``__call__`` that re-tests them.
"""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from nightlatch.classifier.subject import TorchSubject, as_float, predict
from nightlatch.errors import NotScanned
from nightlatch.records import Part, Rate, Record
from nightlatch.registry import Registry, part_of

LEAST = 40
"""Clean pictures without which nothing is scanned."""
FEWEST_CLASSES = 3
"""A class stands out only among others."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one class.

    Args:
        anomaly: how far the class stands out among all, in robust deviations; large is suspicious.
        mask: (1, h, w) in 0..1, where the trigger is put.
        pattern: (3, h, w) in 0..1, what is put there.
    """

    anomaly: float
    mask: torch.Tensor
    pattern: torch.Tensor

    def apply(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures in 0..1 with the trigger in."""
        return pictures + (self.pattern - pictures) * self.mask


class ClassFinding(Record):
    """One class of a scanned model."""

    number: int
    name: str
    anomaly: float
    flips: Rate


class ModelFinding(Record):
    """What a scanner says of a model: ``score`` is the largest anomaly among the classes whose trigger works
    on pictures it was not made with.
    """

    scanner: Part
    score: float
    suspicious: bool
    target: int
    classes: tuple[ClassFinding, ...]
    clean: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner(abc.ABC):
    """Base of all scanners of classifiers. Authors write ``run``; calling the scanner re-tests every trigger
    on held-out pictures.

    Args:
        level: anomaly from which a model is suspicious.
    """

    name: ClassVar[str]
    level: float = 3.0

    @abc.abstractmethod
    def run(self, subject: TorchSubject, pictures: torch.Tensor) -> list[Found]:
        """One finding for each class, made with clean ``pictures`` (n, 3, h, w) uint8."""

    @final
    def __call__(
        self, subject: TorchSubject, clean: torch.Tensor, seed: int = 0
    ) -> tuple[ModelFinding, list[Found]]:
        """(the record, each class's trigger); half of the ``clean`` pictures is kept for the test.

        Raises:
            NotScanned: too few pictures or classes.
        """
        if len(clean) < LEAST or len(subject.classes) < FEWEST_CLASSES:
            raise NotScanned(
                f"{len(clean)} clean pictures of {len(subject.classes)} classes are too few for {self.name}.",
                f"Give at least {LEAST} pictures; {FEWEST_CLASSES} classes are needed.",
            )
        started = time.monotonic()
        torch.manual_seed(seed)
        clean = clean.to(subject.device)
        order = torch.randperm(len(clean), device=clean.device)
        half = len(clean) // 2
        found = self.run(subject, clean[order[:half]])
        test = clean[order[half:]]
        truth = predict(subject, test)
        rows = tuple(self.tested(subject, k, f, test[truth != k]) for k, f in enumerate(found))
        best = max(rows, key=lambda r: r.anomaly if r.flips.rate >= 0.5 else float("-inf"))
        score = best.anomaly if best.flips.rate >= 0.5 else 0.0
        record = ModelFinding(
            scanner=part_of(self), score=score, suspicious=score >= self.level, target=best.number,
            classes=rows, clean=len(clean),
            seconds=time.monotonic() - started, seed=seed,
        )  # fmt: skip
        return record, found

    def tested(self, subject: TorchSubject, k: int, found: Found, pictures: torch.Tensor) -> ClassFinding:
        """How often the trigger of class ``k`` turns pictures of other classes into it."""
        hits = predict(subject, found.apply(as_float(pictures))) == k if len(pictures) else torch.zeros(0)
        flips = Rate.of(int(hits.sum()), len(pictures))
        return ClassFinding(number=k, name=subject.classes[k], anomaly=found.anomaly, flips=flips)


SCANNERS: Registry[Scanner] = Registry("scanner", Scanner)  # type: ignore[type-abstract]


def stand_out(values: torch.Tensor) -> torch.Tensor:
    """(k,) how many robust deviations each value lies above the median of all, by 1.4826 MAD (Wang et al.
    2019, section 5).
    """
    centre = values.median()
    spread = 1.4826 * (values - centre).abs().median()
    return (values - centre) / spread.clamp(min=1e-3 + 0.01 * centre.abs())
