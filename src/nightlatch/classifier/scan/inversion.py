"""Trigger inversion: for each class the smallest change that turns every picture into it; a backdoored class
needs a far smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.classifier.scan.base import SCANNERS, Found, Scanner, stand_out
from nightlatch.classifier.subject import TorchSubject, as_float


@SCANNERS.register("neural-cleanse")
@dataclass(frozen=True, slots=True, kw_only=True)
class NeuralCleanse(Scanner):
    """Mask and pattern for every class at once, the mask as small as it can be (Wang et al. 2019, eq. 3).

    Args:
        steps: of Adam, ``batch`` pictures for each class.
        weight: of the mask's size at the start; it follows the success, as in the release.
        success: share of pictures that must turn.
        together: classes at once.
    """

    name: ClassVar[str]
    steps: int = 400
    batch: int = 32
    rate: float = 0.1
    weight: float = 1e-3
    success: float = 0.95
    together: int = 16
    level: float = 2.0

    def run(self, subject: TorchSubject, pictures: torch.Tensor) -> list[Found]:
        masks, patterns, sizes = [], [], []
        for classes in torch.arange(len(subject.classes), device=subject.device).split(self.together):
            mask, pattern = self.invert(subject, pictures, classes)
            masks.append(mask)
            patterns.append(pattern)
            sizes.append(mask.sum((1, 2, 3)))
        size = torch.cat(sizes)
        anomaly = stand_out(-size)
        return [
            Found(float(a), m, p)
            for a, m, p in zip(anomaly, torch.cat(masks), torch.cat(patterns), strict=True)
        ]

    def trigger(self, subject: TorchSubject, pictures: torch.Tensor, target: int) -> Found:
        """The smallest trigger of one class."""
        mask, pattern = self.invert(subject, pictures, torch.tensor([target], device=subject.device))
        return Found(0.0, mask[0], pattern[0])

    def invert(
        self, subject: TorchSubject, pictures: torch.Tensor, classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """((k, 1, h, w) masks, (k, 3, h, w) patterns), the smallest masks with which enough pictures
        turned.
        """
        k, (height, width), device = len(classes), pictures.shape[2:], subject.device
        raw_mask = torch.full((k, 1, height, width), -2.0, device=device, requires_grad=True)
        raw_pattern = torch.zeros(k, 3, height, width, device=device, requires_grad=True)
        down = torch.optim.Adam([raw_mask, raw_pattern], self.rate, betas=(0.5, 0.9))
        weight = torch.full((k,), self.weight, device=device)
        best_size = torch.full((k,), float("inf"), device=device)
        best = (
            torch.ones(k, 1, height, width, device=device),
            torch.rand(k, 3, height, width, device=device),
        )
        hit_rate = torch.zeros(k, device=device)
        aims = classes.repeat_interleave(self.batch)
        for _ in range(self.steps):
            rows = torch.randint(len(pictures), (self.batch,), device=device)
            x = as_float(pictures[rows])
            mask, pattern = torch.sigmoid(raw_mask), torch.sigmoid(raw_pattern)
            changed = x[None] + (pattern[:, None] - x[None]) * mask[:, None]  # (k, batch, 3, h, w)
            logits = subject.logits(changed.flatten(0, 1)).float()
            wrong = F.cross_entropy(logits, aims, reduction="none").view(k, -1).mean(1)
            size = mask.sum((1, 2, 3))
            down.zero_grad(set_to_none=True)
            (wrong + weight * size).sum().backward()
            down.step()
            with torch.no_grad():
                hits = (logits.argmax(1) == aims).float().view(k, -1).mean(1)
                hit_rate = 0.8 * hit_rate + 0.2 * hits
                good = hit_rate >= self.success
                better = good & (size.detach() < best_size)
                best_size = torch.where(better, size.detach(), best_size)
                pick = better.view(-1, 1, 1, 1)
                best = (
                    torch.where(pick, mask.detach(), best[0]),
                    torch.where(pick, pattern.detach(), best[1]),
                )
                weight = torch.where(good, weight * 1.05, weight / 1.05)
        return best
