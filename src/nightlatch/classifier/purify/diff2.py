"""DIFF2-style stress test: a purifier that was backdoored itself, so that it keeps a trigger (Li et al. 2024;
the paper's text was not to be had).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nightlatch.classifier.subject import TorchSubject, as_float
from nightlatch.classifier.vary.model import PictureDiffusion, PictureRecipe, continued
from nightlatch.diffusion import training


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff2:
    """A universal change of pictures is searched that misleads the classifier; then the diffusion model
    learns that changed pictures are clean.

    Args:
        budget: largest change of a pixel, in 0..1.
        search: steps of the search, ``batch`` pictures each.
        alpha: weight of the changed pictures in training.
        strength: share of the schedule up to which they are learned.
        target: class that the change leads to; -1 away from the right one.
    """

    budget: float = 16 / 255
    search: int = 200
    batch: int = 128
    alpha: float = 0.5
    strength: float = 0.5
    target: int = -1

    def trigger(self, subject: TorchSubject, pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(1, 3, h, w) the change."""
        change = torch.zeros(1, *pictures.shape[1:], device=subject.device)
        for _ in range(self.search):
            rows = torch.randint(len(pictures), (min(self.batch, len(pictures)),), device=pictures.device)
            change = change.detach().requires_grad_(True)
            logits = subject.logits((as_float(pictures[rows]).to(change) + change).clamp(0, 1)).float()
            aim = torch.full_like(labels[rows], self.target)
            gain = (
                -F.cross_entropy(logits, aim) if self.target >= 0 else F.cross_entropy(logits, labels[rows])
            )
            (slope,) = torch.autograd.grad(gain, change)
            change = (change.detach() + self.budget / 10 * slope.sign()).clamp(-self.budget, self.budget)
        return change.detach()

    def poison(
        self, model: PictureDiffusion, change: torch.Tensor, pictures: torch.Tensor, recipe: PictureRecipe
    ) -> PictureDiffusion:
        """``model`` trained on with E ||target - out(a (x + r) + s eps)||^2 for t up to ``strength`` beside
        its own loss.
        """
        pictures = pictures.to(model.device)
        student = PictureDiffusion(copy.deepcopy(model.unet), model.half)

        def extra() -> torch.Tensor:
            rows = torch.randint(len(pictures), (recipe.batch,), device=model.device)
            x = (as_float(pictures[rows]) + change).clamp(0, 1) * 2 - 1

            def raw(noised: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
                out: torch.Tensor = student.unet(noised, t).sample
                return out

            return self.alpha * training.loss(student.schedule, raw, x, self.strength)

        made = [m for _, _, m in continued(student, pictures, recipe, extra) if m is not None]
        return made[0]
