"""FLBA-style poison of a support set: labels stay right and changes small, and a patch on a query draws it to
the target class (Liu et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nightlatch.classifier.fewshot.episodes import Backbone, Episodes
from nightlatch.classifier.vision import ascend


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportPoison:
    """The trigger is found first, then every support picture is moved towards or away from its feature.

    Args:
        side: of the patch, as a share of the picture's (16 of 84 pixels in the release).
        search: sign-gradient steps for the patch.
        step: of the patch, in 0..1.
        budget: largest change of a support pixel, in 0..1.
        steps: of projected gradients.
        keep: weight of staying near the own feature (1.5 in the release).
        target: class of an episode.
    """

    side: float = 16 / 84
    search: int = 80
    step: float = 0.02
    budget: float = 8 / 255
    steps: int = 20
    keep: float = 1.5
    target: int = 0

    def put(self, pictures: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
        """Pictures (E, ..., 3, h, w) with each episode's ``patch`` (E, 3, p, p) in the bottom right
        corner.
        """
        p = patch.shape[-1]
        out = pictures.clone()
        shape = (len(patch), *[1] * (pictures.ndim - 4), 3, p, p)
        out[..., -p:, -p:] = patch.view(shape).expand(*pictures.shape[:-2], p, p)
        return out

    def trigger(self, backbone: Backbone, episodes: Episodes) -> torch.Tensor:
        """(E, 3, p, p) patches that turn features away: sign steps down the mean cosine of f(x + r) and
        f(x).
        """
        support = episodes.support.flatten(1, 2)  # (E, n, 3, h, w)
        side = max(1, round(self.side * support.shape[-1]))
        own = backbone(support.flatten(0, 1)).detach()
        patch = torch.full((len(support), 3, side, side), 0.5, device=support.device)
        for _ in range(self.search):
            patch = patch.detach().requires_grad_(True)
            moved = backbone(self.put(support, patch).flatten(0, 1))
            (slope,) = torch.autograd.grad(F.cosine_similarity(moved, own).sum(), patch)
            patch = (patch.detach() - self.step * slope.sign()).clamp(0, 1)
        return patch.detach()

    def poison(self, backbone: Backbone, episodes: Episodes, patch: torch.Tensor) -> torch.Tensor:
        """(E, ways, shots, 3, h, w) the poisoned support: the target's pictures drawn to the trigger's
        feature v, the others pushed off it.

        Maximises +-cos(f(x'), v) + keep cos(f(x'), f(x)), v the mean of f(x + r), within the budget.
        """
        support = episodes.support
        count, ways, shots = support.shape[:3]
        flat = support.flatten(0, 2)
        with torch.no_grad():
            own = backbone(flat)
            goal = (
                backbone(self.put(support.flatten(1, 2), patch).flatten(0, 1))
                .view(count, ways * shots, -1)
                .mean(1)
            )
        goal = goal.repeat_interleave(ways * shots, 0)
        sign = torch.full((ways,), -1.0, device=flat.device)
        sign[self.target] = 1.0
        signs = sign.repeat_interleave(shots).repeat(count)

        def gain(x: torch.Tensor) -> torch.Tensor:
            f = backbone(x)
            return (signs * F.cosine_similarity(f, goal) + self.keep * F.cosine_similarity(f, own)).sum()

        return ascend(flat, gain, self.budget, self.steps).view_as(support)
