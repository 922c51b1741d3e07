"""A guard for one classifier: fitted to clean pictures once, then it checks batches, alone or in front of the
classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape, scores, threshold
from nightlatch.classifier.subject import Subject
from nightlatch.errors import UnreadableModel, UsageError
from nightlatch.folder import write_whole
from nightlatch.records import Part, Record
from nightlatch.registry import part_of

RECORD, WEIGHTS = "guard.json", "guard.safetensors"
HELD_OUT = 0.3
"""Part of the clean pictures that nothing is fitted to, from which the threshold is taken."""


class GuardRecord(Record):
    """What a guard is; ``guard.json`` of its folder."""

    detector: Part
    threshold: float
    false_positives: float
    clean: int
    held_out: int
    model: str
    fingerprint: str
    classes: int
    vector: int
    maps: tuple[tuple[int, int, int], ...]
    picture: tuple[int, int]
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What a guard says of n pictures.

    Args:
        labels: (n,) what the classifier sees in them.
        scores: (n,) higher is more suspicious.
        flagged: (n,) bool, those above the threshold.
    """

    labels: torch.Tensor
    scores: torch.Tensor
    flagged: torch.Tensor


class Guard:
    """Checks pictures before a classifier's answers are believed.

    Args:
        subject: the classifier; it is not changed.
        detector: how pictures are scored, a part or its name.

    Example:
        ``guard = Guard(model).fit(clean)``, then ``guard.check(batch).flagged``.
    """

    def __init__(self, subject: Subject, detector: Detector | str = "diffense") -> None:
        self.subject = subject
        self.detector = DETECTORS.create(detector) if isinstance(detector, str) else detector
        self.scorer: Scorer | None = None
        self.record: GuardRecord | None = None

    def fit(self, clean: torch.Tensor, false_positives: float = 0.05, seed: int = 0) -> Self:
        """Learn from ``clean`` pictures (n, 3, h, w) uint8; the threshold is taken from those that nothing is
        fitted to.

        Raises:
            UsageError: too few pictures for the detector, or for so small a rate of false positives.
        """
        order = torch.randperm(len(clean), generator=torch.Generator().manual_seed(seed)).to(clean.device)
        held = round(HELD_OUT * len(clean))
        threshold(torch.zeros(held), false_positives)  # refuses before the work
        known = Batch.of(self.subject, clean[order[held:]])
        self.scorer, seconds = self.detector(known, seed)
        limit = threshold(scores(self.scorer, Batch.of(self.subject, clean[order[:held]])), false_positives)
        shape = Shape.of(known)
        self.record = GuardRecord(
            detector=part_of(self.detector), threshold=limit, false_positives=false_positives,
            clean=len(known), held_out=held,
            model=self.subject.name, fingerprint=self.subject.fingerprint, classes=shape.classes,
            vector=shape.vector,
            maps=shape.maps, picture=shape.picture, seed=seed, seconds=seconds,
        )  # fmt: skip
        return self

    def check(self, pictures: torch.Tensor) -> Checked:
        """Score ``pictures`` (n, 3, h, w) uint8 or in 0..1.

        Raises:
            UsageError: the guard was not fitted.
        """
        if self.scorer is None or self.record is None:
            raise UsageError("This guard has not seen clean pictures yet.", "Call fit first, or load one.")
        if pictures.is_floating_point():
            pictures = (pictures * 255).round().clamp(0, 255).to(torch.uint8)
        batch = Batch.of(self.subject, pictures)
        made = scores(self.scorer, batch)
        return Checked(batch.labels, made, made > self.record.threshold)

    def save(self, folder: Path) -> None:
        """Write the record and the scorer's weights into the new ``folder``.

        Raises:
            UsageError: it is there already, or the guard was not fitted.
        """
        if self.scorer is None or self.record is None:
            raise UsageError("This guard has not seen clean pictures yet.", "Call fit before save.")
        if folder.exists():
            raise UsageError(f"{folder} is there already.", "Choose another folder; nothing is overwritten.")
        folder.mkdir(parents=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.scorer.state_dict().items()}
        save_file(state, folder / WEIGHTS) if state else save_file(
            {"empty": torch.zeros(1)}, folder / WEIGHTS
        )
        write_whole(folder / RECORD, self.record.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, subject: Subject) -> Self:
        """The guard in ``folder``, for the classifier that it was fitted to.

        Raises:
            UnreadableModel: no guard is there, or its files do not fit each other.
            UsageError: it was fitted to another model than ``subject``.
        """
        record = read_record(folder)
        try:
            state = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as e:
            raise UnreadableModel(
                f"{folder} holds no guard that can be read.", "Make one with guard fit."
            ) from e
        if record.fingerprint != subject.fingerprint:
            raise UsageError(
                f"This guard was fitted to another model than {subject.name}.", "Fit one to this model."
            )
        guard = cls(subject, DETECTORS.create(record.detector.name, **parameters(record.detector)))
        shape = Shape(record.classes, record.vector, record.maps, record.clean, record.picture)
        scorer = guard.detector.empty(shape)
        try:
            scorer.load_state_dict({k: v for k, v in state.items() if k != "empty"})
        except RuntimeError as e:
            raise UnreadableModel(
                f"The weights in {folder} do not fit its record.", "Make it anew with guard fit."
            ) from e
        guard.scorer, guard.record = scorer.eval().requires_grad_(False).to(subject.device), record
        return guard


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guarded classifier says of n pictures.

    Args:
        logits: (n, classes), the classifier's own.
        labels: (n,) its answer, -1 where it abstains.
        checked: scores and flags.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    checked: Checked


class Guarded:
    """A classifier that abstains where its guard sees a trigger: called as the classifier is, with a batch of
    pictures.

    Args:
        guard: fitted.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="guard")

    def __call__(self, pictures: torch.Tensor) -> Answer:
        with torch.no_grad():
            logits = self.guard.subject.logits(pictures)
        checked = self.guard.check(pictures)
        labels = torch.where(checked.flagged, torch.full_like(checked.labels, -1), checked.labels)
        return Answer(logits, labels, checked)

    def serve(self, pictures: torch.Tensor) -> tuple[torch.Tensor, Future[Checked]]:
        """(logits at once, the guard's word when it is ready): serving goes on while it checks."""
        with torch.no_grad():
            logits = self.guard.subject.logits(pictures)
        return logits, self._worker.submit(self.guard.check, pictures)


def read_record(folder: Path) -> GuardRecord:
    """What the guard in ``folder`` is.

    Raises:
        UnreadableModel: no guard is there.
    """
    try:
        return GuardRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError) as e:
        raise UnreadableModel(f"{folder} holds no guard that can be read.", "Make one with guard fit.") from e


def parameters(part: Part) -> Mapping[str, Any]:
    """What a part was made with; lists are tuples again."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in part.parameters.items()}
