"""Sanitising a support set: pictures whose feature a variation moves far, or that move their class's
prototype too much, count less or not at all.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.fewshot.episodes import Backbone, featured
from nightlatch.registry import Registry

Vary = Callable[[torch.Tensor], torch.Tensor]
"""Pictures in 0..1 (n, 3, h, w) -> variations of them."""


def softened(pictures: torch.Tensor) -> torch.Tensor:
    """Blurred by 0.7 pixels under noise of 3 %: a variation for pictures that no diffusion model here
    knows.
    """
    return (augment.blur(pictures, 0.7) + 0.03 * torch.randn_like(pictures)).clamp(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence(abc.ABC):
    """What is done with a support set before a head learns from it."""

    name: ClassVar[str]

    @abc.abstractmethod
    def __call__(
        self, backbone: Backbone, support: torch.Tensor, vary: Vary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(features (E, ways, shots, d), weights (E, ways, shots)) for the support pictures (E, ways, shots,
        3, h, w).
        """


DEFENCES: Registry[Defence] = Registry("few-shot defence", Defence)  # type: ignore[type-abstract]


@DEFENCES.register("none")
@dataclass(frozen=True, slots=True, kw_only=True)
class Undefended(Defence):
    """The support as it came."""

    name: ClassVar[str]

    def __call__(
        self, backbone: Backbone, support: torch.Tensor, vary: Vary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return featured(backbone, support), torch.ones(support.shape[:3], device=support.device)


@DEFENCES.register("variations")
@dataclass(frozen=True, slots=True, kw_only=True)
class Variations(Defence):
    """The support's features are those of its variations, the mean over ``copies``: small made changes do not
    survive.
    """

    name: ClassVar[str]
    copies: int = 3

    def __call__(
        self, backbone: Backbone, support: torch.Tensor, vary: Vary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return varied(backbone, support, vary, self.copies), torch.ones(
            support.shape[:3], device=support.device
        )


@DEFENCES.register("sanitise")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitise(Defence):
    """Features of variations, and weights that fall with the shift from the original's feature and with the
    leave-one-out influence.

    Args:
        copies: variations of each picture.
        sharp: how fast weights fall, per robust deviation above the median of the support set.
    """

    name: ClassVar[str]
    copies: int = 3
    sharp: float = 1.0

    def __call__(
        self, backbone: Backbone, support: torch.Tensor, vary: Vary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        own, made = featured(backbone, support), varied(backbone, support, vary, self.copies)
        suspicion = above(shift(own, made)) + above(influence(made))
        weights = torch.exp(-self.sharp * suspicion)
        return made, weights / weights.mean(2, keepdim=True)


def varied(backbone: Backbone, support: torch.Tensor, vary: Vary, copies: int) -> torch.Tensor:
    """(E, ways, shots, d) mean unit features of variations."""
    flat = support.flatten(0, 2)
    parts = [F.normalize(featured(backbone, vary(flat)), dim=-1) for _ in range(copies)]
    return torch.stack(parts).mean(0).view(*support.shape[:3], -1)


def shift(own: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """(E, ways, shots) 1 - cos between a picture's feature and its variations': made changes are brittle."""
    return 1 - F.cosine_similarity(own, made, dim=-1)


def influence(features: torch.Tensor) -> torch.Tensor:
    """(E, ways, shots) how far leaving a picture out moves its class's prototype, as 1 - cos."""
    unit = F.normalize(features, dim=-1)
    total, n = unit.sum(2, keepdim=True), unit.shape[2]
    return 1 - F.cosine_similarity(total - unit, total.expand(-1, -1, n, -1), dim=-1)


def above(values: torch.Tensor) -> torch.Tensor:
    """(E, ways, shots) robust deviations above the median of the episode's support; 0 below it."""
    flat = values.flatten(1)
    centre = flat.median(1, keepdim=True).values
    spread = 1.4826 * (flat - centre).abs().median(1, keepdim=True).values
    return ((flat - centre) / spread.clamp(min=1e-6)).clamp(min=0).view_as(values)
