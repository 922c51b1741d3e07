"""Displacement in the denoiser's middle block, which answers to every part of a trigger.

A backdoor that waits for a whole word was trained to stay silent on its parts. What leaves the denoiser
shows nothing until nearly the whole word is there; what leaves its middle block grows with every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.effect.displacement import Displacement, excess
from nightlatch.text2image.model import Condition, Subject, Tokens

LEAST = 1e-12
"""Displacements are not given smaller, so that they have a logarithm."""


@dataclass(slots=True, eq=False)
class MiddleDisplacement:
    """``Displacement`` of the middle block's output instead of the picture's, in the first context."""

    outer: Displacement
    _plain: tuple[torch.Tensor, torch.Tensor] = field(init=False)
    _typical: float = field(init=False)

    def __post_init__(self) -> None:
        self._plain = self._pair([()])
        some = self.outer.spread(self.outer.measure.typical)
        moves = self.outer.batched(
            lambda s: (self._pair(s)[1] - self._plain[1]).pow(2).flatten(1).mean(1), some
        )
        self._typical = float(np.median(moves))

    def __call__(self, sequences: Sequence[Tokens]) -> Floats:
        """The displacement of each sequence, (n,), > 0."""
        values = self.outer.batched(
            lambda some: excess(*self._pair(some), self._plain, self._typical), sequences
        )
        return values.clip(min=LEAST)

    @torch.no_grad()
    def _pair(self, sequences: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        outer = self.outer
        mine, theirs = outer.conditions(sequences, outer.contexts[0].text)
        return self._middle(outer.suspect, mine), self._middle(outer.reference.model, theirs)

    def _middle(self, model: Subject, c: Condition) -> torch.Tensor:
        self.outer.passes += len(c)
        return self.outer.step.middle(model, c)
