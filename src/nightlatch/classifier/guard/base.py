"""What every detector of triggered pictures shares: it learns from clean pictures only, and scores each
picture; higher is more suspicious.
"""

from __future__ import annotations

import abc
import math
import time
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import Seen, Subject, TorchSubject
from nightlatch.errors import UsageError
from nightlatch.registry import Registry

LEAST_CLEAN = 40
"""Clean pictures without which nothing is fitted."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures to be judged, as the classifier sees them.

    Args:
        subject: the classifier.
        pictures: (n, 3, h, w) uint8.
        seen: logits and features of ``pictures``.
        labels: (n,) what each picture is said to show: by the classifier, or, in a data set, by its label.
    """

    subject: Subject
    pictures: torch.Tensor
    seen: Seen
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    @classmethod
    def of(cls, subject: Subject, pictures: torch.Tensor) -> Batch:
        """``pictures``, each with the label that ``subject`` gives it."""
        pictures = pictures.to(subject.device)
        seen = subject.look(pictures)
        return cls(subject, pictures, seen, seen.labels)

    @classmethod
    def labelled(cls, subject: Subject, data: Labelled) -> Batch:
        """A data set, with the labels that came with it."""
        made = cls.of(subject, data.pictures)
        return cls(subject, made.pictures, made.seen, data.labels.to(made.labels))

    def at(self, rows: torch.Tensor | slice) -> Batch:
        """Some of the pictures, by number or as a mask."""
        index = torch.arange(len(self), device=self.labels.device)[rows]
        return Batch(self.subject, self.pictures[index], self.seen.at(index), self.labels[index])

    def split(self, size: int) -> list[Batch]:
        return [self.at(slice(i, i + size)) for i in range(0, max(len(self), 1), size)]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a scorer must be built for, so that it can be read back from a file.

    Args:
        classes: number of classes.
        vector: width of the last layer's input.
        maps: (c, h, w) of each feature map.
        clean: pictures it was fitted on.
        picture: (h, w).
    """

    classes: int
    vector: int
    maps: tuple[tuple[int, int, int], ...]
    clean: int
    picture: tuple[int, int]

    @classmethod
    def of(cls, batch: Batch) -> Shape:
        maps = tuple((int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in batch.seen.maps)
        size = (int(batch.pictures.shape[2]), int(batch.pictures.shape[3]))
        return cls(batch.seen.logits.shape[1], batch.seen.vector.shape[1], maps, len(batch), size)

    def width(self, taps: str) -> int:
        """Length of the feature vector: of the head, or of all stages."""
        return self.vector if taps == "head" else self.vector + sum(m[0] for m in self.maps)


class Scorer(nn.Module, abc.ABC):
    """What a fitted detector is: buffers and weights, and a score. What it holds is all that is written to a
    file.
    """

    @abc.abstractmethod
    def score(self, batch: Batch) -> torch.Tensor:
        """(n,) float, higher is more suspicious."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector(abc.ABC):
    """Base of all detectors. Authors write ``empty`` and ``run``; calling the detector fits, and checks what
    it made.

    No detector is told the trigger, the target or the attack; settings are chosen on clean pictures.
    """

    name: ClassVar[str]
    needs_weights: ClassVar[bool] = False
    """Whether it changes or differentiates the model, so that an ONNX file will not do."""
    whole_set: ClassVar[bool] = False
    """Whether a picture's score depends on the others that are judged with it."""

    @abc.abstractmethod
    def empty(self, shape: Shape) -> Scorer:
        """A scorer of the right shapes that has learned nothing."""

    @abc.abstractmethod
    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        """Fit ``scorer`` in place to ``clean``; torch's generator is at ``seed`` already."""

    @final
    def __call__(self, clean: Batch, seed: int = 0) -> tuple[Scorer, float]:
        """(a scorer fitted to ``clean``, seconds).

        Raises:
            UsageError: too few clean pictures, weights are needed and not there, or the scores are not finite
                numbers.
        """
        if len(clean) < LEAST_CLEAN:
            raise UsageError(f"{len(clean)} clean pictures are too few.", f"Give at least {LEAST_CLEAN}.")
        if self.needs_weights and not isinstance(clean.subject, TorchSubject):
            raise UsageError(
                f"{self.name} needs the model's weights.", "Choose another detector for an ONNX file."
            )
        started = time.monotonic()
        torch.manual_seed(seed)
        scorer = self.empty(Shape.of(clean)).to(clean.pictures.device)
        self.run(scorer, clean, seed)
        scorer.eval().requires_grad_(False)
        return scorer, time.monotonic() - started


def scores(scorer: Scorer, batch: Batch, size: int = 1024) -> torch.Tensor:
    """(n,) float of all pictures in ``batch``.

    Raises:
        UsageError: one of them is not a finite number.
    """
    with torch.no_grad():
        made = torch.cat([scorer.score(part).float() for part in batch.split(size)])
    if made.shape != (len(batch),) or not torch.isfinite(made).all():
        raise UsageError(
            f"{type(scorer).__name__} gives no finite score for every picture.", "Report this as a fault."
        )
    return made


def threshold(clean_scores: torch.Tensor, false_positives: float) -> float:
    """The score that a clean picture exceeds with probability at most ``false_positives``: the ceil((n + 1)(1
    - p))-th smallest of n held-out ones (conformal prediction; Vovk et al. 2005).

    Raises:
        UsageError: too few scores for so small a rate.
    """
    n = len(clean_scores)
    rank = math.ceil((n + 1) * (1 - false_positives))
    if not 0 < false_positives < 1 or rank > n:
        need = math.ceil(1 / false_positives) - 1 if 0 < false_positives < 1 else 1
        raise UsageError(
            f"{n} held-out clean pictures cannot bound false positives at {false_positives:g}.",
            f"Give {need} or more.",
        )
    return float(clean_scores.sort().values[rank - 1])


DETECTORS: Registry[Detector] = Registry("detector", Detector)  # type: ignore[type-abstract]
