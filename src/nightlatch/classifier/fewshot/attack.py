"""FLBA-style poison of a support set: labels stay right and changes small, and a patch on a query draws it to
the target class (Liu et al. 2024).

As in the paper, the attacker knows the frozen network, changes support pictures by at most 8/255, and puts a
patch of 16/84 of the side on queries. The objectives are ours. The patch must move the features of all pictures
in one direction d, not each of them anywhere; and poison moves the mean feature of a class a set distance along d
and nowhere else, so that clean queries are told apart as before. The release maximises cosines picture by picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nightlatch.classifier.fewshot.episodes import Backbone, unit
from nightlatch.classifier.vision import ascend


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportPoison:
    """One patch is found on the attacker's own pictures; then the pictures of each class are changed together.

    Args:
        side: of the patch, as a share of the picture's (16 of 84 pixels in the release).
        search: sign-gradient steps for the patch.
        step: the first of them, in 0..1; the last is a tenth of it.
        batch: pictures a step, and support pictures that are changed at once.
        budget: largest change of a support pixel, in 0..1 (8/255 in the release).
        steps: of projected gradients (50 in the release).
        drawn: how far the target's mean unit feature is to move along d; further costs clean accuracy.
        pushed: how far those of the other classes are to move against it; they reach half of that.
        pull: weight of that against any other movement of the mean.
        target: class of an episode.
    """

    side: float = 16 / 84
    search: int = 150
    step: float = 0.05
    batch: int = 48
    budget: float = 8 / 255
    steps: int = 50
    drawn: float = 0.27
    pushed: float = 0.38
    pull: float = 3.0
    target: int = 0

    def put(self, pictures: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
        """Pictures (..., 3, h, w) with ``patch`` (3, p, p) in the bottom right corner."""
        p = patch.shape[-1]
        out = pictures.clone()
        out[..., -p:, -p:] = patch
        return out

    def trigger(self, backbone: Backbone, pictures: torch.Tensor) -> torch.Tensor:
        """(3, p, p) the patch r that moves the features of ``pictures`` (n, 3, h, w) furthest in one direction:
        sign steps up |mean_i u(x_i + r) - u(x_i)|, u the unit feature.
        """
        side = max(1, round(self.side * pictures.shape[-1]))
        own = unit(backbone, pictures)
        patch = torch.full((3, side, side), 0.5, device=pictures.device)
        for i in range(self.search):
            rows = torch.randperm(len(pictures), device=pictures.device)[: self.batch]
            patch = patch.detach().requires_grad_(True)
            moved = F.normalize(backbone(self.put(pictures[rows], patch)), dim=-1)
            (slope,) = torch.autograd.grad((moved - own[rows]).mean(0).norm(), patch)
            step = self.step * (1 - 0.9 * i / self.search)
            patch = (patch.detach() + step * slope.sign()).clamp(0, 1)
        return patch.detach()

    def direction(self, backbone: Backbone, pictures: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
        """(d,) the unit vector d in which ``patch`` moves features on the mean."""
        moved = unit(backbone, self.put(pictures, patch)) - unit(backbone, pictures)
        return F.normalize(moved.mean(0), dim=0)

    def poison(
        self, backbone: Backbone, support: torch.Tensor, direction: torch.Tensor, target: bool
    ) -> torch.Tensor:
        """Support sets (n, shots, 3, h, w), each of one class, whose mean unit feature has moved along
        ``direction`` (the target's class) or against it (another class), within the budget.

        With m = mean_i u(x'_i) - u(x_i): maximises -pull max(0, shift - <m, +-d>) - |m - <m, d> d|.
        """
        sign, goal = (1.0, self.drawn) if target else (-1.0, self.pushed)
        shots = support.shape[1]

        def poisoned(some: torch.Tensor) -> torch.Tensor:
            flat = some.flatten(0, 1)
            own = unit(backbone, flat)

            def gain(x: torch.Tensor) -> torch.Tensor:
                moved = (F.normalize(backbone(x), dim=-1) - own).unflatten(0, (-1, shots)).mean(1)
                along = moved @ direction
                aside: torch.Tensor = (moved - along[:, None] * direction).norm(dim=-1)
                return -(self.pull * F.relu(goal - sign * along) + aside).sum()

            made: torch.Tensor = ascend(flat, gain, self.budget, self.steps, falling=True)
            return made.view(some.shape)

        return torch.cat([poisoned(some) for some in support.split(max(1, self.batch // shots))])
