"""What SAU learns from, made once from the frozen suspect: what is to be reached, and what to be kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nightlatch.terms import Role
from nightlatch.text2image.effect.locate import Trace, trace
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import Job
from nightlatch.text2image.repair.batches import Held, Triggered, outputs_along, times
from nightlatch.text2image.repair.texts import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Who takes part in a repair.

    Args:
        student: the copy that is repaired; its text encoder may have been repaired already.
        frozen: the suspect as it came.
        teacher: a trusted base that says what a triggered prompt looks like; None: the suspect itself, on
            the disarmed prompt.
    """

    student: Subject
    frozen: Subject
    teacher: Subject | None = None

    def modules(self, *roles: Role) -> list[nn.Module]:
        """Of all that take part, the components with one of these roles, each once; the student's first."""
        taking = (self.student, self.frozen, *([self.teacher] if self.teacher else []))
        return list({id(m): m for s in taking for m in s.modules(*roles)}.values())

    @property
    def idle(self) -> list[nn.Module]:
        """The denoisers that nobody asks while the student learns: what they say is known before."""
        return self.modules(Role.DENOISER)[len(self.student.modules(Role.DENOISER)) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """All batches of a repair; their rows run over kind of latent, then step, then picture.

    Args:
        triggered: what the trigger does, to be unlearned.
        held: what must not change.
        plain: the part of ``held`` whose prompts hold no neutral word: as they were, with a known word in
            the trigger's place.
    """

    triggered: Triggered
    held: Held
    plain: Held

    def in_files(self, least: int) -> TrainingSet:
        """The same, where what is ``least`` bytes or more lies in files."""
        return TrainingSet(
            triggered=self.triggered.in_files(least),
            held=self.held.in_files(least),
            plain=self.plain.in_files(least),
        )


def training_set(models: Models, job: Job, texts: Texts) -> TrainingSet:
    """Draw a triggered and a clean picture for each of ``texts``, and compute what training needs."""
    frozen, student, batch = models.frozen, models.student, job.sampling.batch
    learned, clean = triggered_batch(models, job, texts)
    second_half = learned.out[
        len(learned.out) // 2 :
    ]  # on the clean pictures' latents; the suspect's own without a teacher
    disarmed_out = second_half if models.teacher is None else outputs_along(clean, frozen, clean.c, batch)
    held_out = outputs_along(clean, frozen, frozen.read(texts.held), batch)
    disarmed = Held.of(clean, student, texts.dropped, disarmed_out)
    kept, plain = disarmed.joined(Held.of(clean, student, texts.held, held_out)), disarmed
    if texts.plain:
        drawn = trace(frozen, texts.plain, _seeds(job, len(texts.plain)), job.sampling)
        plain = Held.of(drawn, student, texts.plain, outputs_along(drawn, frozen, drawn.c, batch))
        kept = kept.joined(plain)
    return TrainingSet(triggered=learned, held=kept, plain=plain)


def triggered_batch(models: Models, job: Job, texts: Texts, first: int = 0) -> tuple[Triggered, Trace]:
    """What the trigger does on the way to the triggered pictures and to the clean ones, and the way to these.

    The clean ones belong to it: once its first steps are repaired, the student meets the trigger on the
    latents of a clean picture. Targets come from the suspect on the disarmed prompts, or from the teacher on
    the triggered ones. ``first`` numbers the pictures, whose noise depends on it.
    """
    frozen, seeds, batch = models.frozen, _seeds(job, len(texts.triggered), first), job.sampling.batch
    triggered, clean = (trace(frozen, x, seeds, job.sampling) for x in (texts.triggered, texts.dropped))
    tutor = models.teacher or frozen
    taught = clean.c if models.teacher is None else tutor.read(texts.triggered)
    x, repeats = torch.cat([triggered.x, clean.x]).flatten(0, 1), 2 * len(triggered.times)
    out = torch.cat([outputs_along(way, tutor, taught, batch) for way in (triggered, clean)])
    attacked = torch.cat([outputs_along(way, frozen, triggered.c, batch) for way in (triggered, clean)])
    made = Triggered(
        x=x,
        t=times(triggered, frozen.device).repeat(2),
        c=models.student.read(texts.triggered).repeated(repeats),
        out=out,
        attacked=attacked,
        mask=Triggered.where(out, attacked),
        replaced=torch.tensor(
            [r and models.teacher is None for r in texts.replaced], device=frozen.device
        ).repeat(repeats),
    )
    return made, clean


def _seeds(job: Job, n: int, first: int = 0) -> list[int]:
    return [job.seed * 10_000 + first + i for i in range(n)]
