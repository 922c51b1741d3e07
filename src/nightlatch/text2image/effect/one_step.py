"""One denoising step: the cheapest look at what a text makes a model draw.

At pure noise the denoiser knows nothing of the picture but what the text says, so a single pass shows most
of what the text does. What acts on details only shows at a late step, in a picture that is nearly done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from nightlatch.errors import NotScanned
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.model.at_once import in_parts

BATCH = 64
"""Texts computed at once, fewer where latents are large (``Subject.rows``)."""


@dataclass(frozen=True, slots=True, eq=False)
class OneStep:
    """One step that all texts start from alike, so that only the texts make a difference.

    Args:
        x: the noisy latents, (1, channels, h, w).
        t: the timestep.
    """

    x: torch.Tensor
    t: float

    @classmethod
    def first(cls, subject: Subject, seed: int, steps: int = 10) -> Self:
        """The first step of a sampler with that many ``steps``, from the noise of ``seed``."""
        return cls(subject.noise([seed]), subject.schedule.times(steps)[0])

    @classmethod
    def at_share(cls, subject: Subject, seed: int, share: float = 1.0) -> Self:
        """A step at that part of the schedule, in 0..1; 1 is pure noise."""
        return cls(subject.noise([seed]), subject.schedule.at_share(share))

    @classmethod
    def within(cls, subject: Subject, latents: torch.Tensor, seed: int, share: float) -> Self:
        """A step of drawing ``latents`` (1, channels, h, w) at that part of the schedule, in 0..1."""
        t = subject.schedule.at_share(share)
        return cls(subject.schedule.at(t).noised(latents, subject.noise([seed])), t)

    def outputs(self, model: Subject, c: Condition, batch: int = BATCH) -> torch.Tensor:
        """The denoiser's raw outputs under ``c``, (n, channels, h, w), without gradients."""
        return model.outputs(self._x(c), self.t, c, batch)

    def x0(self, model: Subject, c: Condition, batch: int = BATCH) -> torch.Tensor:
        """The clean latents that ``model`` predicts under ``c``, (n, channels, h, w).

        Raises:
            NotScanned: one of them holds NaN or infinity.
        """
        return finite(model.at(self.t).x0(self.outputs(model, c, batch), self._x(c)), model)

    def middle(self, model: Subject, c: Condition) -> torch.Tensor:
        """What the denoiser's middle block gives under ``c``, (n, ...); for ``Subject.rows`` rows at most.

        Raises:
            NotScanned: it holds NaN or infinity.
        """
        with torch.no_grad(), model.sites.middle() as reached:
            made = in_parts(
                lambda r: reached(lambda: model.denoise(self._x(c[r]), self.t, c[r])),
                len(c), len(c), model.device,
            )  # fmt: skip
        return finite(torch.cat(made), model)

    def _x(self, c: Condition) -> torch.Tensor:
        return self.x.expand(len(c), -1, -1, -1)


def finite(x: torch.Tensor, model: Subject) -> torch.Tensor:
    """``x`` itself.

    Raises:
        NotScanned: it holds NaN or infinity.
    """
    if not bool(x.isfinite().all()):
        raise NotScanned(
            f"{model.name} answers some prompts with numbers that are not finite.", "Do not load this model."
        )
    return x
