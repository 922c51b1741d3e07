"""What the verbs on classifiers and their data do, as functions over paths."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from nightlatch import stats
from nightlatch.classifier import victims
from nightlatch.classifier.data import Labelled, Pictures
from nightlatch.classifier.guard import DETECTORS, Batch, Guard, GuardRecord, Shape, scores
from nightlatch.classifier.guard.guard import read_record
from nightlatch.classifier.loading import open_model, save_model
from nightlatch.classifier.sources import open_data
from nightlatch.classifier.subject import TorchSubject
from nightlatch.classifier.training import Recipe, accuracy, fit
from nightlatch.classifier.vary import Distil, disagreement, named
from nightlatch.classifier.vary.rebuild import Rebuilt, rebuild
from nightlatch.errors import UsageError
from nightlatch.records import Rate, Record

Say = Callable[[str], None]
UNUSUAL = 3.0
"""Robust deviations above the median of its data set from which a method counts a picture as unusual."""
HELD_OUT = 0.1
"""Part of a rebuilt data set that a student is not taught, to measure it."""
DISAGREEMENT = "variation-disagreement"
SETS = ("activation-clustering", "spectral-signatures")
"""Detectors that judge the pictures of a label together."""


class PictureFinding(Record):
    """What a guard says of one picture."""

    picture: str
    score: float
    flagged: bool
    label: str = Field(description="what the classifier sees in it")


class PoisonFinding(Record):
    """What is known of one training picture: how unusual each method finds it, in robust deviations."""

    picture: str
    label: str
    score: float = Field(
        description="deviations of the disagreement with its variations, by which the list is ordered"
    )
    reasons: dict[str, float] = Field(description="deviations by method, those that count")


class StudentCard(Record):
    """What became of a student beside its teacher, on pictures that it was not taught."""

    teacher: str
    taught: int
    variations: int = Field(1, description="of each picture, as many as data sets were given")
    agreement: Rate = Field(
        description="the student's answers with the data set's labels, on held-out variations"
    )
    teacher_agreement: Rate
    changed: Rate = Field(description="held-out variations on which student and teacher differ")
    alpha: float
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How pictures are read.

    Args:
        device: torch device.
        features: of an ONNX file: the output that is tapped.
        seed: of everything drawn.
    """

    device: str = "cpu"
    features: str = ""
    seed: int = 0


def fit_guard(
    model: Path, data: Path, out: Path, look: Look, detector: str, false_positives: float, say: Say
) -> GuardRecord:
    """Learn what the features of clean pictures look like; writes the folder ``out``.

    Raises:
        UsageError: ``out`` is there already, or there are too few pictures.
    """
    if out.exists():
        raise UsageError(f"{out} is there already.", "Choose another folder; nothing is overwritten.")
    subject = open_model(model, look.device, look.features)
    clean, _, broken = open_data(data).load(subject.size)
    tell_broken(broken, say)
    say(f"fitting {detector} to {len(clean)} clean pictures")
    guard = Guard(subject, detector).fit(clean.pictures.to(look.device), false_positives, look.seed)
    assert guard.record is not None
    guard.record = guard.record.model_copy(update={"model": str(model.resolve())})
    guard.save(out)
    return guard.record


def check_pictures(
    folder: Path, pictures: Path, look: Look, model: Path | None, say: Say
) -> list[PictureFinding]:
    """Every readable picture's score, the most suspicious first.

    Args:
        model: where the classifier lies, if not where it lay when the guard was fitted.
    """
    named_model = model or Path(read_record(folder).model)
    guard = Guard.load(folder, open_model(named_model, look.device, look.features))
    source, found = open_data(pictures), list[PictureFinding]()
    torch.manual_seed(look.seed)
    for rows, batch, broken in source.batches(guard.subject.size):
        tell_broken(broken, say)
        if rows:
            checked = guard.check(batch.to(look.device))
            for k, label, score, flagged in zip(
                rows, checked.labels.tolist(), checked.scores.tolist(), checked.flagged.tolist(), strict=True
            ):
                name = guard.subject.classes[label]
                found.append(
                    PictureFinding(picture=source.names[k], score=score, flagged=flagged, label=name)
                )
    return sorted(found, key=lambda f: (-f.flagged, -f.score))


def teach(data: Labelled, look: Look) -> TorchSubject:
    """A small classifier trained on ``data`` itself: what poison does to a model is what gives it away."""
    torch.manual_seed(look.seed)
    subject = victims.resnet(data.classes, data.pictures.shape[-1], 16, (1, 1, 1))
    subject.module.to(look.device)
    return fit(
        subject,
        data,
        Recipe(epochs=max(10, min(60, 200_000 // max(len(data), 1))), batch=128, rate=0.1, mirror=False),
    )


def scan_data(
    data: Path, model: Path | None, generator: str, look: Look, say: Say, strength: float = 0.5
) -> list[PoisonFinding]:
    """Every training picture, the most suspicious first.

    Args:
        model: a classifier trained on ``data``; without one a small one is trained here.
        generator: what varies pictures for the disagreement: a control's name or a diffusion model's folder.

    Raises:
        UsageError: the pictures have no labels.
    """
    source = open_data(data)
    teacher = open_model(model, look.device, look.features) if model else None
    if teacher is not None and not isinstance(teacher, TorchSubject):
        raise UsageError(
            "An ONNX file cannot be the teacher.", "Give the model as a folder with its weights."
        )
    size = teacher.size if teacher else None
    loaded, numbers, broken = source.load(size)
    tell_broken(broken, say)
    if not source.classes or (loaded.labels < 0).any():
        raise UsageError("Some pictures have no label.", "Put every picture into the folder of its class.")
    loaded = loaded.to(look.device)
    if teacher is None:
        say(f"training a small classifier on {len(loaded)} pictures")
        teacher = teach(loaded, look)
    batch = Batch.labelled(teacher, loaded)
    raw = {name: scores(DETECTORS.create(name).empty(Shape.of(batch)), batch, len(batch)) for name in SETS}
    say(f"varying with {generator}")
    raw[DISAGREEMENT] = disagreement(
        teacher,
        loaded,
        [named(generator, strength, 10, look.device)(loaded.pictures, look.seed + k) for k in range(3)],
    )
    return ranked(source, numbers, raw)


def ranked(source: Pictures, numbers: Sequence[int], raw: dict[str, torch.Tensor]) -> list[PoisonFinding]:
    """Findings in order of the disagreement, with every method's deviation that counts."""
    z = {name: stats.robust_z(v.cpu().double().numpy(), v.cpu().double().numpy()) for name, v in raw.items()}
    found = [
        PoisonFinding(
            picture=source.names[k], label=source.classes[int(source.labels[k])], score=float(z[DISAGREEMENT][i]),
            reasons={name: round(float(v[i]), 2) for name, v in z.items() if v[i] >= UNUSUAL},
        )
        for i, k in enumerate(numbers)
    ]  # fmt: skip
    return sorted(found, key=lambda f: -f.score)


def vary_data(
    data: Path, generator: str, out: Path, strength: float, size: tuple[int, int] | None, look: Look, say: Say
) -> Rebuilt:
    """A data set of the same form with a variation of each picture; resumes."""
    source = open_data(data)
    if size is None:
        first = next((d for k in range(len(source)) if not isinstance(d := source.decode(k), str)), None)
        if first is None:
            raise UsageError("None of the pictures can be read.", "Look at the files.")
        size = (int(first.shape[0]), int(first.shape[1]))
    variation = named(generator, strength, 10, look.device)
    return rebuild(data, source, variation, out, size, say, generator, look.seed)


def train_student(
    data: Sequence[Path], teacher: Path, out: Path, distil: Distil, epochs: int, look: Look, say: Say
) -> StudentCard:
    """A student of the teacher's architecture, taught on ``data``, rebuilds of one data set; writes the model folder
    ``out`` with student.json.

    Raises:
        UsageError: ``out`` is there already, data and teacher have other classes, or the data sets are not of the same
            pictures.
    """
    if out.exists():
        raise UsageError(f"{out} is there already.", "Choose another folder; nothing is overwritten.")
    known = open_model(teacher, look.device)
    if not isinstance(known, TorchSubject):
        raise UsageError(
            "An ONNX file cannot be the teacher.", "Give the model as a folder with its weights."
        )
    loaded, again = rebuilds(data, known, say)
    sizes = max(1, round(HELD_OUT * len(loaded)))
    held, taught = loaded.to(look.device).parts(sizes, seed=look.seed)
    more = [
        replace(loaded, pictures=a).to(look.device).parts(sizes, seed=look.seed)[1].pictures for a in again
    ]
    torch.manual_seed(look.seed)
    module: Any = type(known.module)(copy.deepcopy(known.module.config))
    blank = TorchSubject(module.to(look.device), known.preprocessing, known.classes, name=out.name)
    say(f"teaching a student on {len(taught)} pictures, {len(data)} variations of each")
    student = distil(blank, known, taught, Recipe(epochs=epochs, batch=128, rate=0.1, mirror=False), more)
    told, theirs = (torch.cat([s.look(p).labels for p in held.pictures.split(256)]) for s in (student, known))
    card = StudentCard(
        teacher=str(teacher), taught=len(taught), variations=len(data),
        agreement=accuracy(student, held), teacher_agreement=accuracy(known, held),
        changed=Rate.of(int((told != theirs).sum()), len(held)), alpha=distil.alpha, temperature=distil.temperature, seed=look.seed,
    )  # fmt: skip
    save_model(student, out)
    (out / "student.json").write_text(card.model_dump_json(indent=1) + "\n", "utf-8")
    return card


def rebuilds(data: Sequence[Path], known: TorchSubject, say: Say) -> tuple[Labelled, list[torch.Tensor]]:
    """The pictures of ``data``, in the size that ``known`` reads: the first set, and those of the others in its order.

    Raises:
        UsageError: other classes than ``known`` has, pictures without a label, or sets that are not of the same pictures.
    """
    sets = []
    for path in data:
        source = open_data(path)
        loaded, numbers, broken = source.load(known.size)
        tell_broken(broken, say)
        if len(loaded.classes) != len(known.classes) or (loaded.labels < 0).any():
            raise UsageError(
                f"The data set has {len(loaded.classes)} classes and the teacher {len(known.classes)}.",
                "Give data with the teacher's classes.",
            )
        sets.append((loaded, [source.names[k] for k in numbers]))
    (first, names), *others = sets
    for path, (other, theirs) in zip(data[1:], others, strict=True):
        if theirs != names or not torch.equal(other.labels, first.labels):
            raise UsageError(
                f"{path} does not hold the same pictures as {data[0]}.",
                "Give data sets that were rebuilt from one, with other seeds or strengths.",
            )
    return first, [other.pictures for other, _ in others]


def tell_broken(broken: Sequence[str], say: Say) -> None:
    """One line for each picture that could not be read."""
    for line in broken:
        say(line)
