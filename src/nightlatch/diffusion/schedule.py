"""Noise levels: one formula for models that predict noise, v, the picture itself, or a flow.

A noised sample is x = a x0 + s eps, and a denoiser's raw output is out = e eps + f x0. With k = a e - s f
everything else follows: x0 = (e x - s out) / k, eps = (a out - f x) / k, and the output that implies a given
x0 is (e x - k x0) / s.

    predicts      e    f     k
    epsilon       1    0     a
    v_prediction  a   -s     1     (Salimans and Ho 2022, a^2 + s^2 = 1)
    sample        0    1    -s
    flow          1   -1     1     (Lipman et al. 2023, a = 1 - t, s = t)
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["leading", "trailing", "linspace"]
LEAST_K = 0.01
"""Least |k| that a difference of outputs is divided by: at pure noise an epsilon model says nothing about the
picture.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The four coefficients at some timesteps, each shaped to multiply samples, such as (n, 1, 1, 1)."""

    a: torch.Tensor
    s: torch.Tensor
    e: torch.Tensor
    f: torch.Tensor

    @property
    def k(self) -> torch.Tensor:
        """a e - s f."""
        return self.a * self.e - self.s * self.f

    def noised(self, x0: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """x = a x0 + s eps."""
        return self.a * x0 + self.s * eps

    def target(self, x0: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """What the denoiser should output for the sample made of ``x0`` and ``eps``."""
        return self.e * eps + self.f * x0

    def x0(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The clean sample that the raw output ``out`` implies for the noised sample ``x``; k must not be
        0.
        """
        return (self.e * x - self.s * out) / self.k

    def eps(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The noise that ``out`` implies for ``x``; k must not be 0."""
        return (self.a * out - self.f * x) / self.k

    def out(self, x0: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The raw output that implies the clean sample ``x0`` for ``x``; s must not be 0."""
        return (self.e * x - self.k * x0) / self.s

    def as_v(self, difference: torch.Tensor) -> torch.Tensor:
        """A difference of two raw outputs for one x as a difference of v, which weighs all timesteps alike.

        d out / k; early steps, where text acts most, would hardly count in epsilon.
        """
        k = self.k
        return difference / torch.where(k < 0, k.clamp(max=-LEAST_K), k.clamp(min=LEAST_K))


@dataclass(frozen=True, eq=False)
class Schedule(abc.ABC):
    """The noise levels that a model was trained with. Timesteps run from 0 (picture) to ``n`` (noise).

    Args:
        n: number of training timesteps.
    """

    n: int

    @abc.abstractmethod
    def at(self, t: torch.Tensor | float, dimensions: int = 4) -> Levels:
        """The levels at ``t``, one for all samples or one each (n,), shaped to multiply samples of
        ``dimensions``.
        """

    @abc.abstractmethod
    def times(self, steps: int) -> list[float]:
        """The timesteps of a sampler with that many ``steps``, from noise towards the picture."""

    @property
    @abc.abstractmethod
    def end(self) -> Levels:
        """The levels that the last sampling step leads to."""

    @abc.abstractmethod
    def at_share(self, share: float) -> float:
        """The timestep at this part of the schedule, in 0..1; 1 is pure noise."""

    @abc.abstractmethod
    def draw(
        self, n: int, low: float = 0.0, high: float = 1.0, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """``n`` random timesteps between two parts of the schedule, (n,)."""

    def step(self, out: torch.Tensor, x: torch.Tensor, t: float, following: float | None) -> torch.Tensor:
        """The sample at the ``following`` timestep (None: the end), without new noise.

        x' = a' x0 + s' eps: DDIM with eta 0 (Song et al. 2021, eq. 12), and for a flow Euler's step x + (t' -
        t) out.
        """
        now = self.at(t, x.ndim)
        then = self.end if following is None else self.at(following, x.ndim)
        return then.a.to(x) * now.x0(out, x) + then.s.to(x) * now.eps(out, x)


@dataclass(frozen=True, eq=False)
class Discrete(Schedule):
    """A table of noise levels (DDPM, Ho et al. 2020): a = sqrt(abar_t), s = sqrt(1 - abar_t).

    Args:
        abar: the share of the picture's variance that is left at each timestep, (n,).
        last: abar where sampling ends.
        predicts: what the denoiser's raw output is.
        spacing: how sampling steps are spread over the timesteps (Lin et al. 2024, table 2).
        offset: added to timesteps spaced "leading".
    """

    abar: torch.Tensor
    last: float = 1.0
    predicts: Prediction = "epsilon"
    spacing: Spacing = "leading"
    offset: int = 0

    def at(self, t: torch.Tensor | float, dimensions: int = 4) -> Levels:
        index = torch.as_tensor(t, device=self.abar.device).long()
        return self._levels(self.abar[index].view(-1, *[1] * (dimensions - 1)))

    def times(self, steps: int) -> list[float]:
        made = {
            "linspace": np.linspace(0, self.n - 1, steps).round()[::-1],
            "leading": np.arange(steps)[::-1] * float(self.n // steps) + self.offset,
            "trailing": np.arange(self.n, 0, -self.n / steps).round()[:steps] - 1,
        }[self.spacing]
        return [float(min(int(t), self.n - 1)) for t in made]

    @property
    def end(self) -> Levels:
        return self._levels(torch.tensor(self.last))

    def at_share(self, share: float) -> float:
        return float(min(self.n - 1, round(share * self.n)))

    def draw(
        self, n: int, low: float = 0.0, high: float = 1.0, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        device = self.abar.device
        return torch.randint(
            round(low * self.n), round(high * self.n), (n,), device=device, generator=generator
        )

    def _levels(self, abar: torch.Tensor) -> Levels:
        a, s = abar.sqrt(), (1 - abar).sqrt()
        one, none = torch.ones_like(a), torch.zeros_like(a)
        e, f = {"epsilon": (one, none), "v_prediction": (a, -s), "sample": (none, one)}[self.predicts]
        return Levels(a, s, e, f)


@dataclass(frozen=True, eq=False)
class Flow(Schedule):
    """A straight path from picture to noise (rectified flow): a = 1 - t / n, s = t / n, out = eps - x0.

    Args:
        shift: sampling spends more steps near noise the larger it is (Esser et al. 2024, eq. 23).
        device: where random timesteps are drawn.
    """

    shift: float = 1.0
    device: torch.device | str = "cpu"

    def at(self, t: torch.Tensor | float, dimensions: int = 4) -> Levels:
        s = (torch.as_tensor(t, device=self.device).float() / self.n).view(-1, *[1] * (dimensions - 1))
        return Levels(1 - s, s, torch.ones_like(s), -torch.ones_like(s))

    def times(self, steps: int) -> list[float]:
        """Evenly spaced from the largest to the least noise that was trained with, then shifted: as
        FlowMatchEuler does.
        """
        first, last = (self._shifted(s) * self.n for s in (1.0, 1 / self.n))
        return [float(self._shifted(t / self.n) * self.n) for t in np.linspace(first, last, steps)]

    @property
    def end(self) -> Levels:
        return self.at(0.0)

    def at_share(self, share: float) -> float:
        return share * self.n

    def draw(
        self, n: int, low: float = 0.0, high: float = 1.0, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        return self.n * (low + (high - low) * torch.rand(n, device=self.device, generator=generator))

    def _shifted(self, s: float) -> float:
        return self.shift * s / (1 + (self.shift - 1) * s)
