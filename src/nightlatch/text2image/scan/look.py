"""From where a string is looked at: its place in the prompt and the denoising step; and what is ordinary there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nightlatch.terms import PlacementKind
from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.effect.displacement import Displacement
from nightlatch.text2image.scan.answers import Answers
from nightlatch.text2image.scan.reference import WeightDelta


@dataclass(frozen=True, slots=True)
class View:
    """One way of looking at strings.

    Args:
        spot: where in a prompt they stand: in front, behind or inside.
        late: whether a late denoising step is looked at, not the first.
    """

    spot: PlacementKind = PlacementKind.FRONT
    late: bool = False


USUAL = View()
"""In front of the prompt, at the first step: there nearly all triggers show."""
BEHIND, INSIDE, LATE = View(PlacementKind.BEHIND), View(PlacementKind.INSIDE), View(late=True)
ASKED = {INSIDE: BEHIND, LATE: USUAL}
"""View -> the view in which the weights are asked for it: a token's state knows that words come before it, and
no step.
"""


@dataclass(frozen=True, eq=False)
class Look:
    """What one view says of strings.

    Args:
        displacement: the measure that they are ranked by.
        delta: how the weights differ; None where nothing is known of that.
        tokens: those that both models know.
        asked: another look whose weights were asked already, and answer here as they do there: at another step,
            or at another place within the prompt.
    """

    displacement: Displacement
    delta: WeightDelta | None
    tokens: Sequence[int]
    asked: Look | None = None

    @cached_property
    def ordinary(self) -> Floats:
        """The displacements of ordinary tokens."""
        return self.displacement.ordinary(self.tokens)

    @cached_property
    def level(self) -> float:
        """The displacement of an ordinary token: the median."""
        return float(np.median(self.ordinary))

    @cached_property
    def answers(self) -> Answers:
        """Which tokens the change of the weights answers to most; empty where there is nothing to ask."""
        if self.asked is not None:
            return self.asked.answers
        return Answers({}) if self.delta is None else Answers.of(self.delta, self.displacement, self.tokens)
