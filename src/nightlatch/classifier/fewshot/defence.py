"""Sanitising a support set by what variations of its pictures show: made changes are brittle."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence(abc.ABC):
    """What is done with a support set before a head learns from it."""

    name: ClassVar[str]

    @abc.abstractmethod
    def __call__(self, own: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(features (E, ways, shots, d), weights (E, ways, shots)) from the unit features ``own`` of the support
        pictures and ``made`` of their variations, both (E, ways, shots, d).
        """


DEFENCES: Registry[Defence] = Registry("few-shot defence", Defence)  # type: ignore[type-abstract]


@DEFENCES.register("none")
@dataclass(frozen=True, slots=True, kw_only=True)
class Undefended(Defence):
    """The support as it came."""

    name: ClassVar[str]

    def __call__(self, own: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return own, own.new_ones(own.shape[:3])


@DEFENCES.register("variations")
@dataclass(frozen=True, slots=True, kw_only=True)
class Variations(Defence):
    """The support's features are those of its variations: small made changes do not survive."""

    name: ClassVar[str]

    def __call__(self, own: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return made, own.new_ones(own.shape[:3])


@DEFENCES.register("sanitise")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitise(Defence):
    """Features of variations, and weights that fall with the shift from the original's feature and with the
    leave-one-out influence.

    Args:
        sharp: how fast weights fall, per robust deviation above the median of the support set.
    """

    name: ClassVar[str]
    sharp: float = 1.0

    def __call__(self, own: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        suspicion = above(shift(own, made)) + above(influence(made))
        weights = torch.exp(-self.sharp * suspicion)
        return made, weights / weights.mean(2, keepdim=True)


@DEFENCES.register("shift-projection")
@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftProjection(Defence):
    """The original features without the directions in which variations move the classes apart.

    A variation takes back what was made. What it moves alike in all classes is what blur and noise do to any
    picture; a target drawn one way and the others pushed the other way leave a direction in which the mean shifts
    of the classes differ. Prototypes without it cannot answer to it, and honest ones lose one direction a class.
    Variations of several kinds are needed: what each does to a class by itself goes in the mean.
    """

    name: ClassVar[str]

    def __call__(self, own: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        basis = apart(own, made)  # (E, ways - 1, d)
        flat = own.flatten(1, 2)
        kept = flat - (flat @ basis.transpose(1, 2)) @ basis
        return kept.view_as(own), own.new_ones(own.shape[:3])


def apart(own: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """(E, ways - 1, d) orthonormal directions in which the classes' mean shifts from ``own`` to ``made`` differ,
    the largest difference first.
    """
    moved = (made - own).mean(2)
    centred = moved - moved.mean(1, keepdim=True)
    found: torch.Tensor = torch.linalg.svd(centred, full_matrices=False).Vh
    return found[:, :-1]  # one is lost to the mean


def shift(own: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """(E, ways, shots) 1 - cos between a picture's feature and its variations': made changes are brittle."""
    return 1 - F.cosine_similarity(own, made, dim=-1)


def influence(features: torch.Tensor) -> torch.Tensor:
    """(E, ways, shots) how far leaving a picture out moves its class's prototype, as 1 - cos."""
    whole = F.normalize(features, dim=-1)
    total, n = whole.sum(2, keepdim=True), whole.shape[2]
    return 1 - F.cosine_similarity(total - whole, total.expand(-1, -1, n, -1), dim=-1)


def above(values: torch.Tensor) -> torch.Tensor:
    """(E, ways, shots) robust deviations above the median of the episode's support; 0 below it."""
    flat = values.flatten(1)
    centre = flat.median(1, keepdim=True).values
    spread = 1.4826 * (flat - centre).abs().median(1, keepdim=True).values
    return ((flat - centre) / spread.clamp(min=1e-6)).clamp(min=0).view_as(values)
