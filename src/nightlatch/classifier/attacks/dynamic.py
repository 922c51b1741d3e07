"""An input-aware trigger: a network draws another pattern for every picture, and only its own works (Nguyen
and Tran 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.attacks.base import ATTACKS, Attack, Planted, Setting
from nightlatch.classifier.subject import as_float, logits_of
from nightlatch.classifier.training import descend

SHARP = 20.0
"""Steepness of the mask's edge, per deviation of what it is cut from."""


class Painter(nn.Module):
    """Pictures in 0..1 -> a pattern (n, 3, h, w) and a mask (n, 1, h, w), both in 0..1; the mask covers the
    share ``density`` of the positions.
    """

    def __init__(self, density: float, width: int = 16) -> None:
        super().__init__()
        self.density = density

        def part(inner: int, outer: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1), nn.GroupNorm(4, outer), nn.ReLU())

        self.down = nn.Sequential(part(3, width, 2), part(width, 2 * width, 2), part(2 * width, 2 * width, 1))
        self.up = nn.Sequential(part(2 * width, width, 1), nn.Conv2d(width, 4, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        small = self.up(self.down(x * 2 - 1)).float()
        drawn = F.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False)
        where = drawn[:, 3:]
        where = (where - where.mean((2, 3), keepdim=True)) / where.std((2, 3), keepdim=True).clamp(min=1e-4)
        edge = where.flatten(1).quantile(1 - self.density, dim=1).view(-1, 1, 1, 1)
        return torch.sigmoid(drawn[:, :3]), torch.sigmoid(SHARP * (where - edge))


def put(x: torch.Tensor, pattern: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """x + (pattern - x) mask (eq. 3)."""
    return x + (pattern - x) * mask


@ATTACKS.register("input-aware")
@dataclass(frozen=True, slots=True, kw_only=True)
class InputAware(Attack):
    """Pattern network and victim are trained together; pictures with another picture's pattern keep their
    label, and patterns must differ.

    IDBA-style: one network draws pattern and mask, and the mask's size is fixed, where the original trains
    the mask before.

    Args:
        density: share of the picture that the mask covers (0.032 in section 4.1).
        diversity: weight of ||x - x'|| / ||g(x) - g(x')|| (eq. 8).
        rate: of the pattern network.
    """

    name: ClassVar[str]
    density: float = 0.032
    diversity: float = 1.0
    rate: float = 2e-3

    def run(self, setting: Setting) -> Planted:
        subject, data, recipe = setting.victim(), setting.train, setting.recipe
        painter = Painter(self.density).to(data.pictures.device)
        down = torch.optim.Adam(painter.parameters(), self.rate, betas=(0.5, 0.9))

        def loss(rows: torch.Tensor) -> torch.Tensor:
            x = augment.usual(as_float(data.pictures[rows]), recipe.pad, recipe.mirror)
            labels = data.labels[rows].clone()
            m = max(1, round(self.share * len(x)))
            other = x[torch.randperm(len(x), device=x.device)]
            pattern, mask = painter(x[: 2 * m])
            strange, strange_mask = painter(other[: 2 * m])
            own = put(x[:m], pattern[:m], mask[:m])
            crossed = put(x[m : 2 * m], strange[m : 2 * m], strange_mask[m : 2 * m])
            labels[:m] = self.target
            logits = logits_of(subject.module(subject.preprocessing(torch.cat([own, crossed, x[2 * m :]]))))
            apart = (pattern - strange).flatten(1).norm(dim=1) + 1e-6
            diverse = ((x[: 2 * m] - other[: 2 * m]).flatten(1).norm(dim=1) / apart).mean()
            total: torch.Tensor = F.cross_entropy(logits.float(), labels) + self.diversity * diverse
            return total

        descend(subject, len(data), loss, recipe, beside=down)
        painter.eval()

        def apply(x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                pattern, mask = painter(x)
                return put(x, pattern, mask)

        none = torch.zeros(len(data), dtype=torch.bool, device=data.pictures.device)
        return Planted(subject, apply, data, none)
