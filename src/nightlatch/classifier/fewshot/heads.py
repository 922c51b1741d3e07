"""Heads on frozen features: prototypes, robust prototypes, and a cosine classifier, for many episodes at
once.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(abc.ABC):
    """What is learned from a support set."""

    name: ClassVar[str]

    @abc.abstractmethod
    def weights(self, support: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """(E, ways, d) unit vectors, one a class, from support features (E, ways, shots, d) and their weights
        ``keep`` (E, ways, shots).
        """

    def answers(
        self, support: torch.Tensor, queries: torch.Tensor, keep: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(E, n) the class nearest by cosine to each query feature (E, n, d)."""
        kept = torch.ones(support.shape[:-1], device=support.device) if keep is None else keep
        return (F.normalize(queries, dim=-1) @ self.weights(support, kept).transpose(1, 2)).argmax(-1)


HEADS: Registry[Head] = Registry("few-shot head", Head)  # type: ignore[type-abstract]


@HEADS.register("prototypes")
@dataclass(frozen=True, slots=True, kw_only=True)
class Prototypes(Head):
    """The mean of a class's unit features (Snell et al. 2017, eq. 1, by cosine)."""

    name: ClassVar[str]

    def weights(self, support: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return F.normalize((F.normalize(support, dim=-1) * keep[..., None]).sum(2), dim=-1)


@HEADS.register("robust-prototypes")
@dataclass(frozen=True, slots=True, kw_only=True)
class RobustPrototypes(Head):
    """The geometric median of a class's unit features (Weiszfeld's iteration): a few far ones hardly move
    it.
    """

    name: ClassVar[str]
    rounds: int = 20

    def weights(self, support: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(support, dim=-1)
        centre = (unit * keep[..., None]).sum(2) / keep.sum(2, keepdim=True).clamp(min=1e-9)
        for _ in range(self.rounds):
            near = keep / (unit - centre[:, :, None]).norm(dim=-1).clamp(min=1e-4)
            centre = (unit * near[..., None]).sum(2) / near.sum(2, keepdim=True).clamp(min=1e-9)
        return F.normalize(centre, dim=-1)


@HEADS.register("cosine")
@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine(Head):
    """A linear layer on unit features with unit weights, trained on the support set (Chen et al. 2019,
    baseline++).

    Args:
        scale: of the cosines (2 in FLBA's release).
        steps: of Adam.
    """

    name: ClassVar[str]
    scale: float = 2.0
    steps: int = 100
    rate: float = 0.01

    def weights(self, support: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        count, ways, shots, _ = support.shape
        unit = F.normalize(support, dim=-1).flatten(1, 2).detach()
        labels = torch.arange(ways, device=support.device).repeat_interleave(shots).expand(count, -1)
        first = Prototypes().weights(support, keep).detach()
        # gradients never leave what the support spans, so its coordinates are enough
        basis = torch.linalg.qr(unit.transpose(1, 2)).Q  # (E, d, n)
        seen = unit @ basis
        with torch.enable_grad():
            w = (first @ basis).requires_grad_(True)
            down = torch.optim.Adam([w], self.rate)
            for _ in range(self.steps):
                logits = self.scale * seen @ F.normalize(w, dim=-1).transpose(1, 2)
                each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
                down.zero_grad(set_to_none=True)
                (each * keep.flatten()).sum().backward()
                down.step()
        return F.normalize(w.detach() @ basis.transpose(1, 2), dim=-1)
