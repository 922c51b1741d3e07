"""Image classifiers as a family: settings, loading, and the verbs' work, by the names that all families
share.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from PIL import Image
from pydantic import Field

from nightlatch.classifier import loading, repair, verify
from nightlatch.classifier.attacks import ATTACKS
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.guard import DETECTORS
from nightlatch.classifier.scan import SCANNERS, Found
from nightlatch.classifier.sources import open_data
from nightlatch.classifier.subject import TorchSubject, as_float
from nightlatch.classifier.training import Recipe, tuned
from nightlatch.classifier.vary import VARIATIONS
from nightlatch.errors import UsageError
from nightlatch.families import Job, Row, Say
from nightlatch.plan import Plan, valid
from nightlatch.records import (
    Carrier,
    Computed,
    Hint,
    PictureTrigger,
    Ran,
    Record,
    Repair,
    Scorecard,
    Verdict,
)
from nightlatch.registry import Registry
from nightlatch.terms import Role

DATA = "data"
"""Name of the option with clean, labelled pictures."""
INVERSION = "neural-cleanse"
"""The scanner whose triggers repair and proof work with."""
SHOWN = 6
"""Pictures with the trigger in a report."""
CARRIER = Carrier(component="model", role=Role.CLASSIFIER)


class Settings(Record):
    """What a scan of an image classifier spends."""

    steps: Annotated[int, Field(ge=2, le=100_000)] = 400
    """Of trigger inversion."""
    pictures: Annotated[int, Field(ge=80, le=1_000_000)] = 2_000
    """Clean pictures that are used; half of them are seen by scan and repair, the others prove."""
    epochs: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Of the fine-tuning in repairs and of the test of regrowth."""


class Classifier:
    """The family of ``AutoModelForImageClassification`` folders."""

    name: ClassVar[str] = "classifier"
    usual: ClassVar[str] = "unlearn"
    Settings: ClassVar[type[Record]] = Settings
    repairs: ClassVar[Registry[Any]] = repair.METHODS
    registries: ClassVar[Mapping[str, Registry[Any]]] = {
        "picture-attacks": ATTACKS,
        "detectors": DETECTORS,
        "scanners": SCANNERS,
        "prunings": repair.METHODS,
        "variations": VARIATIONS,
    }

    def settings(self, given: Mapping[str, Any]) -> Record:
        return valid(Settings, given)

    def needs_base(self, staged: Path) -> str:
        return ""

    @staticmethod
    def rehearse(staged: str, under: str) -> int:
        """Load, and classify one grey picture; called in a guarded child."""
        subject = loading.staged_model(Path(staged), "cpu")
        with torch.no_grad():
            subject.logits(torch.full((1, 3, *subject.size), 0.5))
        return sum(p.numel() for p in subject.module.parameters())

    def load(self, staged: Path, under: Path | None, plan: Plan) -> TorchSubject:
        return loading.staged_model(staged, plan.device)

    def takes(self, model: object) -> bool:
        return isinstance(model, TorchSubject)

    def adopt(self, model: object, plan: Plan) -> TorchSubject | None:
        return model.copy() if isinstance(model, TorchSubject) else None

    def save(self, model: TorchSubject, folder: Path) -> None:
        loading.save_model(model, folder)

    def computed(self, model: TorchSubject) -> Computed:
        return Computed(device=str(model.device), dtype="float32")

    def scan(self, suspect: TorchSubject, base: Any, plan: Plan, hints: Sequence[Hint], say: Say) -> Verdict:
        started, settings = time.monotonic(), plan.of(Settings)
        seen, _ = clean_pictures(suspect, plan, say)
        triggers, parts, tested = [], [], []
        for name in SCANNERS.names():
            say(f"scanning with {name}")
            record, _ = scanner(name, settings)(suspect, seen.pictures, plan.seed)
            best = record.classes[record.target]
            said = f"class {best.name!r} stands out most, by {best.anomaly:.1f} robust deviations"
            tested.append(
                f"{name}: a trigger for each of {len(record.classes)} classes from {record.clean} clean pictures; {said} "
                f"(suspicious from {SCANNERS.create(name).level:g} on), and its trigger turns {best.flips.rate:.0%} of "
                f"{best.flips.n} held-out pictures."
            )
            parts.append(Ran(part=record.scanner, strings=len(record.classes), seconds=record.seconds))
            if record.suspicious:
                triggers.append(
                    PictureTrigger(
                        target=best.name,
                        number=best.number,
                        anomaly=best.anomaly,
                        flips=best.flips,
                        finder=name,
                    )
                )
        triggers.sort(key=lambda t: -t.anomaly)
        return Verdict(
            word="suspicious" if triggers else "nothing found by these tests",
            confidence=triggers[0].flips if triggers else None,
            carriers=(CARRIER,) if triggers else (),
            pictures=tuple(triggers),
            tested=tuple(tested),
            not_tested=(
                "Triggers that cover a picture, bend it, or differ from picture to picture: both tests look for a "
                "small thing that is the same everywhere.",
                "Which pictures poisoned it: run 'data scan' on the pictures that it was trained on.",
                "Inputs while it serves: 'guard fit' learns what clean ones look like inside the model.",
            ),
            parts=tuple(parts),
            seed=plan.seed,
            seconds=time.monotonic() - started,
        )  # fmt: skip

    def clean(self, suspect: TorchSubject, job: Job, say: Say) -> tuple[TorchSubject, Repair]:
        plan = job.plan
        seen, _ = clean_pictures(suspect, plan, say)
        target = accused(suspect, job)
        say(f"recovering the trigger of class {suspect.classes[target]!r}")
        asked = repair.Job(
            found=recovered(suspect, seen, target, plan, 1),
            target=target,
            clean=seen,
            recipe=recipe(plan, suspect),
            seed=plan.seed,
            steps=plan.of(Settings).steps,
        )
        method = repair.METHODS.create(job.method or self.usual, **job.parameters)
        student, record = method(suspect, asked)
        tensors, share = difference(suspect, student)
        return student, Repair(
            method=record.method, triggers=(), carriers=(CARRIER,), steps=record.steps, seconds=record.seconds,
            used_base=False, changed_tensors=tensors, changed_share=share, rolled_back=record.rolled_back,
        )  # fmt: skip

    def verify(self, before: TorchSubject, after: TorchSubject, job: Job, say: Say) -> Scorecard:
        plan = job.plan
        parts = clean_pictures(before, plan, say)
        target = accused(before, job)
        say(f"recovering the trigger of class {before.classes[target]!r} from other pictures")
        found = recovered(before, parts[1], target, plan, 2)
        honest = recipe(plan, after) if job.regrowth_steps else Recipe(epochs=0)
        card = verify.verify(before, after, found, target, parts, honest)
        return card.model_copy(update={"seed": plan.seed})

    def evidence(self, suspect: TorchSubject, other: TorchSubject | None, job: Job) -> Iterator[Row]:
        """Clean pictures, the same with the recovered trigger, and the trigger alone."""
        if not accusations(job) or DATA not in job.plan.inputs:
            return
        seen, _ = clean_pictures(suspect, job.plan, lambda line: None)
        target = accused(suspect, job)
        found = recovered(suspect, seen, target, job.plan, 1)
        few = seen.at((seen.labels != target).nonzero().flatten()[:SHOWN])
        changed = found.apply(as_float(few.pictures))
        models = [m for m in (suspect, other) if m is not None]
        words = [[m.classes[int(k)] for k in m.look(changed).labels] for m in models]
        trigger = png(found.pattern * found.mask)
        for i, picture in enumerate(as_float(few.pictures)):
            right = suspect.classes[int(few.labels[i])]
            said = ", after the repair ".join(f"taken for {w[i]!r}" for w in words)
            yield Row(
                prompt=f"a picture of {right!r}", asked=f"a picture of {right!r} with the trigger: {said}",
                seed=job.plan.seed, trigger=None,
                pictures={"clean": png(picture), "triggered": png(changed[i]), "overlay": trigger},
            )  # fmt: skip


def clean_pictures(subject: TorchSubject, plan: Plan, say: Say) -> tuple[Labelled, Labelled]:
    """(those that scan and repair see, those that prove) of the pictures that the user names.

    Raises:
        UsageError: none are named, they have no labels, or other classes than the model.
    """
    path = plan.inputs.get(DATA)
    if path is None:
        raise UsageError("An image classifier is tested with clean pictures.", "Name some with --data.")
    loaded, _, broken = open_data(path).load(subject.size)
    for line in broken:
        say(line)
    if (loaded.labels < 0).any() or len(loaded.classes) > len(subject.classes):
        raise UsageError(
            f"{path} has not the model's classes as its labels.",
            "Give a folder with a sub-folder for each class, named or ordered as in the model.",
        )
    labels = renumbered(loaded, subject.classes)
    held = Labelled(loaded.pictures, labels, subject.classes)
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(plan.seed))
    order = order[: plan.of(Settings).pictures]
    half = len(order) // 2
    return held.at(order[:half]).to(str(subject.device)), held.at(order[half:]).to(str(subject.device))


def renumbered(data: Labelled, classes: Sequence[str]) -> torch.Tensor:
    """Labels as the model numbers its classes: by name where all names are the model's, else as they are."""
    if not set(data.classes) <= set(classes):
        return data.labels
    to = torch.tensor([classes.index(name) for name in data.classes])
    return to[data.labels]


def accusations(job: Job) -> Sequence[PictureTrigger]:
    """What the scan of this run recovered."""
    return job.found.pictures if job.found is not None else ()


def accused(subject: TorchSubject, job: Job) -> int:
    """The class whose trigger is worked on: the one that is named, else the one that scan accuses.

    Raises:
        UsageError: there is none, or the model has no such class.
    """
    if job.triggers:
        name = job.triggers[0].text
        if name not in subject.classes:
            raise UsageError(f"The model has no class {name!r}.", f"Some: {', '.join(subject.classes[:8])}.")
        return subject.classes.index(name)
    if not accusations(job):
        raise UsageError(
            "No class is accused.", "Run scan into this run folder, or name the class with --trigger."
        )
    return accusations(job)[0].number


def recovered(subject: TorchSubject, pictures: Labelled, target: int, plan: Plan, draw: int) -> Found:
    """The smallest trigger of one class, made with ``pictures``."""
    torch.manual_seed(plan.seed * 10 + draw)
    found: Found = scanner(INVERSION, plan.of(Settings)).trigger(subject, pictures.pictures, target)
    return found


def scanner(name: str, settings: Settings) -> Any:
    """A scanner with the run's numbers."""
    return SCANNERS.create(name, **({"steps": settings.steps} if name == INVERSION else {}))


def recipe(plan: Plan, subject: TorchSubject) -> Recipe:
    """Of fine-tuning: a twentieth of the rate of training from nothing, in small batches, since pictures are
    few; and no mirror, which some classes are not themselves in.
    """
    made = Recipe(epochs=plan.of(Settings).epochs, batch=32, rate=0.01, mirror=False)
    return tuned(made, subject.module)


def difference(a: TorchSubject, b: TorchSubject) -> tuple[int, float]:
    """(number of tensors that differ, share of all numbers that differ)."""
    theirs, tensors, numbers, total = b.module.state_dict(), 0, 0, 0
    for key, value in a.module.state_dict().items():
        differs = int((value != theirs[key]).sum())
        tensors, numbers, total = tensors + (differs > 0), numbers + differs, total + value.numel()
    return tensors, numbers / max(total, 1)


def png(picture: torch.Tensor) -> bytes:
    """(3, h, w) in 0..1 as a PNG file, enlarged so that small pictures can be seen."""
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    image, file = Image.fromarray(pixels), io.BytesIO()
    times = max(1, 192 // image.width)
    image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


FAMILY = Classifier()
