"""A repair of one's own: half of the way back to a trusted base, in all weights that differ.

Averaging two models' weights is known from robust fine-tuning (Wortsman et al. 2022, WiSE-FT). It is gentle
and seldom enough: the point here is that a repair is one class with one method. Calling it copies the
suspect, measures harm and takes the repair back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import METHODS, Job, Method
from nightlatch.text2image.repair.base import Step


@METHODS.register("halfway")
@dataclass(frozen=True, slots=True, kw_only=True)
class Halfway(Method):
    """Every weight moved part of the way to the base's.

    Args:
        part: how far, in 0..1; one half weighs both models alike.
    """

    name: ClassVar[str]
    needs_base: ClassVar[bool] = True
    part: float = 0.5

    @torch.no_grad()
    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        assert job.base is not None  # because needs_base
        for name, component in student.parts.items():
            theirs = dict(job.base.parts[name].module.named_parameters())
            for key, weight in component.module.named_parameters():
                weight.lerp_(theirs[key], self.part)
        yield 0, {}
