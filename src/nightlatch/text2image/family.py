"""Text-to-image pipelines as a family: settings, loading, and the verbs' work, by the names that all families
share.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from diffusers import DiffusionPipeline
from PIL import Image
from pydantic import Field

from nightlatch.errors import NotScanned, UsageError
from nightlatch.families import Job, Row, Say
from nightlatch.intake.adapters.lora import OTHER_TARGET
from nightlatch.intake.gate import LORA_TARGET, PEFT_TARGET
from nightlatch.intake.single import TARGET as SINGLE_TARGET
from nightlatch.plan import Plan, valid
from nightlatch.records import Computed, Hint, Record, Repair, Scorecard, SecondSearch, Verdict
from nightlatch.registry import Registry
from nightlatch.schema import Text, Texts
from nightlatch.terms import Role
from nightlatch.text2image import evidence, prompts, repair, scan, verify
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.model import Sampling, Subject, loaders
from nightlatch.text2image.model.change import save_change
from nightlatch.text2image.prompts import PROMPTS, Prompt


class DrawingSettings(Record):
    """What decides a picture beside model, prompt and seed."""

    prompts: Text | Texts = Field(
        default="general",
        description="a registered set by name, or the prompts themselves, one a line (prompts.from_lines)",
    )
    steps: Annotated[int, Field(ge=2, le=1000)] = 10
    """Of DDIM."""
    guidance: Annotated[float, Field(ge=1.0, le=30.0)] = 4.0
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    """'auto': bf16 where the device computes it natively."""
    pictures: Annotated[int, Field(ge=8, le=1000)] = 48
    """Held-out prompts that scan may draw of each string; verify has the others."""
    plan: Texts = ()
    """Stages of the scan in order; () for all of them."""
    skip: Texts = ()
    """Stages that are left out."""


@dataclass(frozen=True, slots=True)
class Share:
    """The prompts of a run, parted: what scan and clean look at, what repairs train on, what scan's pictures
    and verify's are drawn of.
    """

    texts: Sequence[Prompt]
    split: prompts.Split
    unseen: Sequence[Prompt]
    sampling: Sampling

    @classmethod
    def of(cls, plan: Plan) -> Share:
        """Of the plan's prompts, by its seed."""
        settings = plan.of(DrawingSettings)
        texts = prompts.chosen(settings.prompts, plan.seed)
        split = prompts.split(texts, plan.seed)
        unseen = prompts.shared(split.held_out, settings.pictures)[1]
        return cls(texts, split, unseen, Sampling(steps=settings.steps, guidance=settings.guidance))


class TextToImage:
    """The family of ``StableDiffusionPipeline`` folders, single-file checkpoints and LoRAs."""

    name: ClassVar[str] = "text2image"
    usual: ClassVar[str] = "auto"
    Settings: ClassVar[type[Record]] = DrawingSettings
    repairs: ClassVar[Registry[Any]] = repair.METHODS
    registries: ClassVar[Mapping[str, Registry[Any]]] = {
        "attacks": ATTACKS,
        "repairs": repair.METHODS,
        "stages": scan.STAGES,
        "prompts": PROMPTS,
    }

    def settings(self, given: Mapping[str, Any]) -> DrawingSettings:
        named = given.get("prompts")
        read = (
            {"prompts": prompts.read(named)}
            if isinstance(named, str) and named not in PROMPTS.names()
            else {}
        )
        made = valid(DrawingSettings, {**given, **read})
        scan.plan.of(made.plan, made.skip)
        return made

    def needs_base(self, staged: Path) -> str:
        if (staged / PEFT_TARGET).is_file():
            raise NotScanned(
                "It is a LoRA as peft saves it, with its scales in a second file, and is not loaded in that "
                "form.",
                "Write it with diffusers' save_lora_weights, and scan that file with --base.",
            )
        if (staged / LORA_TARGET).is_file():
            return "a LoRA, which needs the model it goes on"
        if (staged / OTHER_TARGET).is_file():
            return "an adapter, which needs the model it goes on"
        single = (staged / SINGLE_TARGET).is_file()
        return "a single-file checkpoint, which has no configs and no tokenizer" if single else ""

    @staticmethod
    def rehearse(staged: str, under: str) -> int:
        return loaders.rehearse(staged, under)

    def load(self, staged: Path, under: Path | None, plan: Plan) -> Subject:
        return loaders.load_staged(
            staged, under, device=plan.device, precision=plan.of(DrawingSettings).precision
        )

    def takes(self, model: object) -> bool:
        return isinstance(model, Subject | DiffusionPipeline)

    def adopt(self, model: object, plan: Plan) -> Subject | None:
        if isinstance(model, Subject):
            return model
        if not isinstance(model, DiffusionPipeline):
            return None
        return loaders.load(model, device=plan.device, precision=plan.of(DrawingSettings).precision)

    def save(self, model: Subject, folder: Path) -> None:
        model.save(folder)

    def save_adapter(self, model: Subject, base: Subject, file: Path) -> None:
        save_change(model, base, file)

    def computed(self, model: Subject) -> Computed:
        return Computed(device=str(model.device), dtype=str(model.precision).removeprefix("torch."))

    def scan(
        self, suspect: Subject, base: Subject | None, plan: Plan, hints: Sequence[Hint], say: Say
    ) -> Verdict:
        settings = plan.of(DrawingSettings)
        if base is None:
            if settings.plan or settings.skip:
                raise UsageError("The stages of a scan need a trusted model.", "Give one with --base.")
            return scan.alone(suspect, plan.seed, say=say)
        part, hinted = Share.of(plan), [text for hint in hints for text in hint.texts]
        question = scan.Question(
            suspect=suspect,
            reference=scan.TrustedBase(base=base),
            texts=part.texts,
            sampling=part.sampling,
            seed=plan.seed,
            hints=hinted,
            say=say,
        )
        judge = scan.Judge(confirmation=scan.Confirmation(pictures=settings.pictures))
        return scan.scan(question, scan.plan.of(settings.plan, settings.skip), judge)

    def clean(self, suspect: Subject, job: Job, say: Say) -> tuple[Subject, Repair]:
        part = Share.of(job.plan)
        seen = repair.Found.of(job.found) if job.found else repair.Found()
        roles = tuple(dict.fromkeys(job.carriers)) or seen.roles or (Role.DENOISER, Role.TEXT)
        found = replace(seen, triggers=tuple(job.triggers), roles=roles)
        search = self._search(suspect, replace(job, carriers=roles), say, repair.CHEAP)

        def watch(step: int, student: Subject, seconds: float) -> bool:
            if step % 20 == 0:
                say(f"unlearning: step {step}")
            return False

        return repair.remove(
            suspect,
            repair.Task(
                found=found,
                prompts=part.split.repair,
                base=job.base,
                sampling=part.sampling,
                seed=job.plan.seed,
                method=job.method or self.usual,
                parameters=job.parameters,
                search=search if job.rounds > 1 else None,
                rounds=job.rounds,
                watch=watch,
                say=say,
            ),
        )

    def verify(self, before: Subject, after: Subject, job: Job, say: Say) -> Scorecard:
        part = Share.of(job.plan)
        asked = verify.Verification(
            triggers=job.triggers,
            prompts=part.unseen,
            honest=part.split.repair if job.regrowth_steps else (),
            sampling=part.sampling,
            n=job.n,
            seed=job.plan.seed + 1,
            regrowth=verify.Regrowth(steps=job.regrowth_steps),
            planted=job.planted,
            search=self._second_search(before, job, say) if job.search else None,
        )
        return verify.verify(before, after, asked)

    def _second_search(self, before: Subject, job: Job, say: Say) -> Callable[[Subject], SecondSearch]:
        """Searches a repaired model with all stages, or, without a base, for what still acts like the triggers."""
        search, seen = self._search(before, job, say, ()), repair.Found.of(job.found) if job.found else None
        strings = tuple(dict.fromkeys((*(seen.strings if seen else ()), *job.strings)))

        def searched(model: Subject) -> SecondSearch:
            say("searching the repaired model")
            again = search(model, strings)
            return SecondSearch(searched=again.searched, found=again.triggers, seconds=again.seconds)

        return searched

    def _search(self, suspect: Subject, job: Job, say: Say, stages: Sequence[str]) -> repair.Search:
        """How a repaired model is searched: scanned where there is a base."""
        part, settings = Share.of(job.plan), job.plan.of(DrawingSettings)
        if job.base is None:
            return repair.StillActing(
                suspect=suspect,
                triggers=job.triggers,
                roles=tuple(job.carriers),
                prompts=part.split.probe,
                seed=job.plan.seed,
            )
        return repair.ScanAgain(
            base=job.base,
            texts=part.texts,
            sampling=part.sampling,
            seed=job.plan.seed,
            pictures=settings.pictures,
            stages=stages,
            say=say,
        )

    def evidence(self, suspect: Subject, other: Subject | None, job: Job) -> Iterator[Row]:
        part = Share.of(job.plan)
        for trigger in job.triggers:
            shown = evidence.Evidence(
                trigger=trigger, prompts=part.unseen, sampling=part.sampling, seed=job.plan.seed
            )
            for row in evidence.evidence(suspect, other, shown):
                yield Row(
                    prompt=row.prompt,
                    asked=row.asked,
                    seed=row.seed,
                    trigger=trigger,
                    pictures={column: _png(picture) for column, picture in row.pictures.items()},
                )


def _png(pixels: evidence.Pixels) -> bytes:
    """A picture (h, w, 3) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FAMILY = TextToImage()
