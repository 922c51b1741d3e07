"""Image-text models as a family: settings, loading, and the verbs' work, by the names that all families
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

from nightlatch.contrastive import adapters, clean, locate, table, verify
from nightlatch.contrastive import scan as scans
from nightlatch.contrastive.attacks import ATTACKS
from nightlatch.contrastive.clean.base import CARRIERS
from nightlatch.contrastive.find import FINDERS
from nightlatch.contrastive.inputs import FINDER, Inputs
from nightlatch.contrastive.pictures import drawn
from nightlatch.contrastive.scan.collapse import BACKDOORED
from nightlatch.contrastive.subject import Subject
from nightlatch.families import Job, Row, Say
from nightlatch.plan import Plan, valid
from nightlatch.records import (
    Candidate,
    Computed,
    Hint,
    Part,
    Ran,
    Ranking,
    Record,
    Repair,
    Scorecard,
    Suspicion,
    Verdict,
)
from nightlatch.registry import Registry, part_of
from nightlatch.sweep import Pull, alike, pulls

SHOWN = 8
"""Pictures of poisoned pairs in a report."""


class Settings(Record):
    """What a scan of an image-text model spends."""

    steps: Annotated[int, Field(ge=1, le=10_000)] = 300
    """Of the search for the smallest patch."""
    pictures: Annotated[int, Field(ge=8, le=10_000)] = 256
    """Drawn from the seed; the patch is found on them."""
    words: Annotated[int, Field(ge=0, le=100_000)] = 2_000
    """Of the tokenizer's whole words that are tried on the text side, from the last on: rare ones come late.
    """


class Contrastive:
    """The family of ``CLIPModel`` and ``SiglipModel`` folders."""

    name: ClassVar[str] = "contrastive"
    usual: ClassVar[str] = "shortcut"
    Settings: ClassVar[type[Record]] = Settings
    repairs: ClassVar[Registry[Any]] = clean.METHODS
    registries: ClassVar[Mapping[str, Registry[Any]]] = {
        "pair-attacks": ATTACKS,
        "finders": FINDERS,
        "cleaners": clean.METHODS,
    }

    def settings(self, given: Mapping[str, Any]) -> Record:
        return valid(Settings, given)

    def needs_base(self, staged: Path) -> str:
        return ""

    @staticmethod
    def rehearse(staged: str, under: str) -> int:
        """Load, and embed one picture and one word; called in a guarded child."""
        subject = adapters.load(Path(staged))
        subject.embed_images(drawn(1, subject.size, 0))
        subject.embed_texts(["a"])
        return sum(p.numel() for p in subject.model.parameters())

    def load(self, staged: Path, under: Path | None, plan: Plan) -> Subject:
        return adapters.load(staged, device=plan.device)

    def takes(self, model: object) -> bool:
        return isinstance(model, Subject)

    def adopt(self, model: object, plan: Plan) -> Subject | None:
        return model.copy() if isinstance(model, Subject) else None

    def save(self, model: Subject, folder: Path) -> None:
        model.save(folder)

    def computed(self, model: Subject) -> Computed:
        return Computed(device=str(model.device), dtype="float32")

    def scan(
        self, suspect: Subject, base: Subject | None, plan: Plan, hints: Sequence[Hint], say: Say
    ) -> Verdict:
        started, settings = time.monotonic(), plan.of(Settings)
        images = drawn(settings.pictures, suspect.size, plan.seed)
        say("image side: smallest patch that makes pictures alike")
        mine = scans.smallest(suspect, images, plan.seed, steps=settings.steps)
        tested = [
            f"Image side: the smallest patch that makes {len(images)} drawn pictures alike takes "
            f"{mine.share:.1%} of a picture "
            f"({settings.steps} steps; the method's paper calls an encoder backdoored below {BACKDOORED:.0%})."
        ]
        found = False
        if base is not None:
            theirs = scans.smallest(base, images, plan.seed, steps=settings.steps)
            found = mine.share < BACKDOORED and mine.share < theirs.share / 2
            tested.append(f"The base needs {theirs.share:.1%}; less than half of that counts.")
        say("text side: words that pull captions together")
        pulls = self._pulls(suspect, settings.words)
        tested.append(
            f"Text side: each of {len(pulls)} whole words in front of {len(scans.CAPTIONS)} captions; the list shows "
            "which pull most, and none is accused."
        )
        carriers = CARRIERS[:1] if found else ()
        return Verdict(
            word="suspicious" if carriers else "nothing found by these tests",
            carriers=carriers,
            top_candidates=tuple(Candidate(text=p.word, score=p.alike, robust_z=p.z) for p in pulls[:20]),
            tested=tuple(tested),
            not_tested=(
                "Which pairs poisoned it: run 'data scan' on the pairs that it was trained on.",
                "Faint changes of whole pictures and bent pictures as triggers: the scan looks for a patch.",
                *(
                    ()
                    if base is not None
                    else ("Against a trusted model: none was given, so nothing is accused.",)
                ),
            ),
            parts=(
                Ran(
                    part=Part(name="smallest-collapsing-patch", parameters={"steps": settings.steps}),
                    passes=settings.steps,
                ),
                Ran(part=Part(name="word-sweep"), strings=len(pulls)),
            ),
            base=base.name if base is not None else "",
            seed=plan.seed,
            seconds=time.monotonic() - started,
        )

    def _pulls(self, suspect: Subject, most: int) -> Sequence[Pull]:
        words, captions = scans.whole_words(suspect.tokenizer, most), scans.CAPTIONS
        read = suspect.embed_texts([f"{w} {c}" for w in words for c in captions])
        return pulls(words, alike(read.view(len(words), len(captions), -1).cpu().numpy()))

    def clean(self, suspect: Subject, job: Job, say: Say) -> tuple[Subject, Repair]:
        seen, _ = Inputs.read(job.inputs, suspect, job.plan.seed).halves(job.plan.seed)
        method = clean.METHODS.create(job.method or self.usual, **job.parameters)
        asked = clean.Job(trusted=seen.trusted, poison=seen.poison, seed=job.plan.seed)

        def watch(step: int) -> None:
            if step % 20 == 0:
                say(f"unlearning: step {step}")

        return method(suspect, asked, watch)

    def verify(self, before: Subject, after: Subject, job: Job, say: Say) -> Scorecard:
        seen, unseen = Inputs.read(job.inputs, before, job.plan.seed).halves(job.plan.seed)
        return verify.verify(before, after, unseen, seen, job.plan.seed + 1, job.regrowth_steps)

    def rank(self, model: Subject, source: Path, finder: str, most: int, plan: Plan, say: Say) -> Ranking:
        chosen = FINDERS.create(finder or FINDER)
        pairs = table.read(source, model.size)
        say(f"{len(pairs)} pairs read, {len(pairs.broken)} not readable")
        found = chosen(model, pairs.to(model.device), plan.seed)
        items = [
            Suspicion(
                name=pairs.names[int(i)], score=float(found.scores[int(i)]), caption=pairs.captions[int(i)]
            )
            for i in found.top(most)
        ]
        return Ranking(
            finder=part_of(chosen),
            items=tuple(items),
            n=len(pairs),
            broken=pairs.broken[:1000],
            unread=len(pairs.broken),
            seconds=found.seconds,
        )

    def evidence(self, suspect: Subject, other: Subject | None, job: Job) -> Iterator[Row]:
        """Poisoned pictures, and over each where its similarity with the shortcut's words comes from; none
        where no pairs are given.
        """
        if "pairs" not in job.inputs:
            return
        read = Inputs.read(job.inputs, suspect, job.plan.seed)
        poison = read.poison
        if poison is None:
            return
        words = locate.shortcut_words(suspect, poison, read.trusted)
        few = poison.at(range(min(SHOWN, len(poison))))
        heat = locate.occlusion(suspect, few.images, suspect.embed_texts([" ".join(words)])[0])
        for i, caption in enumerate(few.captions):
            overlay = _over(few.images[i], heat[i])
            pictures = {"triggered": _png(few.images[i]), "overlay": _png(overlay)}
            yield Row(prompt=caption, asked=caption, seed=job.plan.seed, trigger=None, pictures=pictures)


def _over(image: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """A picture (3, h, w) uint8 whose red channel shows the map (g, g)."""
    strength = heat.clamp(min=0) / heat.max().clamp(min=1e-9)
    mask = torch.nn.functional.interpolate(strength[None, None].cpu(), size=image.shape[-2:], mode="nearest")[
        0
    ]
    red = torch.tensor([255.0, 0.0, 0.0]).view(3, 1, 1)
    return (image.cpu() * (1 - 0.6 * mask) + red * 0.6 * mask).round().to(torch.uint8)


def _png(image: torch.Tensor) -> bytes:
    """(3, h, w) uint8 as a PNG file, enlarged so that small pictures can be seen."""
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    times = max(1, 192 // picture.width)
    file = io.BytesIO()
    picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST).save(
        file, "PNG"
    )
    return file.getvalue()


FAMILY = Contrastive()
