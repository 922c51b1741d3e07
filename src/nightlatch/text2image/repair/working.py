"""How a student is held while it learns: which weights learn, in what precision, and how a step is cut.

Set on models of real size: the part that learns has float32 masters, all else of the student is bfloat16
where the device computes in it, the denoisers that it has learnt from are out of the way, blocks compute again on
the way back what they need, and a step takes four passes at most where memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from nightlatch.diffusion.low_rank import low_rank
from nightlatch.diffusion.mapped import resting, room
from nightlatch.diffusion.memory import Budget, Cut, Footprint, free_bytes, give_back, kept_by, size, storages
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject, Trainable
from nightlatch.text2image.repair.training_set import Models

LARGEST = 0.15
"""Part of what a pass keeps without checkpointing that its largest block keeps, which is there once a picture while
that block computes again; of Stable Diffusion 1.5's 64 x 64 blocks a little less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """The numbers of how a student is held.

    Args:
        rank: of the change of every matrix that learns; 0 for whole matrices.
        half: whether the student is bfloat16 where the device computes in it and memory had to be looked at.
        budget: how much of the free memory a step may take, and in how many passes.
        in_files: bytes of latents, outputs and text states to learn from, from which on they lie in files.
    """

    rank: int = 0
    half: bool = True
    budget: Budget = field(default_factory=Budget)
    in_files: int = 256 * 2**20

    def cut(self, models: Models, train: Trainable, batch: int) -> Cut:
        """How a step of ``batch`` pictures is cut. Where latents are so small that the aimed passes hold them
        without a look at memory, that is all.
        """
        student = models.student
        rows = student.rows(batch, graph=True)
        if rows * self.budget.passes >= batch:
            return Cut(rows=rows, checkpointed=False, peak=0)
        footprint = self.footprint(models, train)
        give_back()
        freed = sum(size(m) for m in models.modules(*Role)) - footprint.fixed
        return self.budget.cut(footprint, batch, free_bytes(student.device) + freed)

    def footprint(self, models: Models, train: Trainable) -> Footprint:
        """The formula's parts, looked at on one picture."""
        student, modules = models.student, models.modules(*Role)
        learns = list(student.sites.trainable(train))
        x, c = student.noise([0]), student.read(["a picture"])
        t = student.schedule.at_share(0.9)

        def forward() -> torch.Tensor:
            return student.denoise(x, t, c)

        with resting(models.idle), _learning(learns):
            ignored = set[int]().union(*(storages(m) for m in modules))
            row = kept_by(forward, ignored)
            with student.sites.checkpointed():
                inputs = kept_by(forward, ignored)
        half = self.halves(student)
        (denoiser,) = student.modules(Role.DENOISER)
        idle = sum(size(m) for m in models.idle)
        away = idle if student.device.type != "cpu" or room(idle) else 0
        fixed = sum(size(m) for m in modules) - away - (size(denoiser) // 2 if half else 0)
        trained = sum(p.numel() for p in learns)
        if self.rank:
            trained = sum(self.rank * sum(m.weight.shape) for m in student.sites.linears(train))
        again = int(LARGEST * row)
        return Footprint(
            fixed=fixed,
            trained=trained,
            row=row,
            row_checkpointed=inputs + again,
            masters=half and not self.rank,
        )

    def halves(self, student: Subject) -> bool:
        """Whether the student is held in bfloat16."""
        return self.half and not self.rank and student.precision is torch.bfloat16

    def aside(self, student: Subject, cut: Cut) -> AbstractContextManager[None]:
        """Inside it, where memory had to be looked at, the student's denoiser is out of the way and not to be asked."""
        return resting(student.modules(Role.DENOISER) if cut.peak else ())

    @contextmanager
    def held(
        self, models: Models, train: Trainable, cut: Cut, seed: int
    ) -> Iterator[tuple[list[nn.Parameter], list[torch.Tensor]]]:
        """Inside it the student is ready to learn, and where memory had to be looked at, no other denoiser is to be
        asked; yields (parameters that learn, their float32 masters, [] where they are float32 themselves). At its end
        the student is float32, and what did not learn is as it was.
        """
        student = models.student
        with ExitStack() as stack:
            learns, masters = list(student.sites.trainable(train)), list[torch.Tensor]()
            if cut.checkpointed:
                stack.enter_context(student.sites.checkpointed())
            if self.rank:
                learns = stack.enter_context(low_rank(student.sites.linears(train), self.rank, seed))
            elif cut.peak and self.halves(student):
                learns, masters = stack.enter_context(_halved(student, models.frozen, train))
            if cut.peak:
                stack.enter_context(resting(models.idle))
            yield learns, masters


@contextmanager
def _learning(parameters: list[nn.Parameter]) -> Iterator[None]:
    before = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(True)
    try:
        yield
    finally:
        for p, was in zip(parameters, before, strict=True):
            p.requires_grad_(was)


@contextmanager
def _halved(
    student: Subject, frozen: Subject, train: Trainable
) -> Iterator[tuple[list[nn.Parameter], list[torch.Tensor]]]:
    """The denoiser in bfloat16. What learns has float32 masters; what does not comes back from the frozen model,
    or, where it is not the same there, from a copy in main memory, so that nothing is rounded in the end.
    """
    (denoiser,), (theirs,) = student.modules(Role.DENOISER), frozen.modules(Role.DENOISER)
    learns = list(student.sites.trainable(train))
    wanted, original = {id(p) for p in learns}, dict(theirs.named_parameters())
    masters = [p.detach().clone() for p in learns]
    staying = {name: p for name, p in denoiser.named_parameters() if id(p) not in wanted}
    kept = {
        name: original[name] if torch.equal(p, original[name]) else p.detach().cpu().clone()
        for name, p in staying.items()
    }
    denoiser.to(torch.bfloat16)
    try:
        yield learns, masters
    finally:
        denoiser.float()
        with torch.no_grad():
            for name, p in staying.items():
                p.copy_(kept[name])
            for p, master in zip(learns, masters, strict=True):
                p.copy_(master)
