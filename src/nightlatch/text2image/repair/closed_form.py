"""Closed-form repairs: without training, the trigger's tokens get what neutral words in their place get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightlatch.errors import UsageError
from nightlatch.text2image.effect import edit
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.texts import Texts


@METHODS.register("uce")
@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedForm(Method):
    """UCE-style closed-form edit (Gandikota et al. 2024, eq. 7) of the matrices that read text.

    Args:
        lam: how strongly the matrices stay as they are.
        keep: weight of the texts that must be read as before.
        prompts: prompts per trigger.
    """

    name: ClassVar[str]
    lam: float = 0.1
    keep: float = 1.0
    prompts: int = 48

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
        edit_readers(student, texts, self.lam, self.keep)
        yield 0, {}


def edit_readers(student: Subject, texts: Texts, lam: float, keep: float) -> None:
    """Make the matrices that read text give the triggered texts what they gave the filled ones.

    Raises:
        UsageError: this denoiser has no such matrices.
    """
    readers = student.sites.readers()
    if not readers:
        raise UsageError(
            f"{student.name} has no matrices that read text directly.", "Use another repair than 'uce'."
        )
    kept = [*texts.dropped, *texts.held, *texts.plain]
    states = (student.read(x).states.flatten(0, 1) for x in (texts.triggered, texts.filled, kept))
    edit.apply(readers, edit.Pairs(*states), lam, keep)
