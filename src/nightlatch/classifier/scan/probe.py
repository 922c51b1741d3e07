"""A gradient probe: a few gradients of the input say where a class can be reached, and a backdoored class is
reached from a small place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.classifier.scan.base import SCANNERS, Found, Scanner, stand_out
from nightlatch.classifier.subject import TorchSubject, as_float


@SCANNERS.register("gradient-probe")
@dataclass(frozen=True, slots=True, kw_only=True)
class GradientProbe(Scanner):
    """DeTrigger-style (Lee et al. 2024; the paper's text was not to be had): mean input gradients towards
    each class, softened by a temperature, kept where they are largest, and put on pictures as a trigger; a
    class that this reaches far more than the others is suspicious.

    Args:
        pictures: that gradients are taken of.
        temperature: of the softmax, so that gradients live where it is sure.
        kept: share of the picture's positions that a trigger may take.
        rounds: of gradients, each on what the round before has made.
        step: of a round, in 0..1 of a pixel.
    """

    name: ClassVar[str]
    pictures: int = 64
    temperature: float = 4.0
    kept: float = 0.05
    rounds: int = 12
    step: float = 0.15

    def run(self, subject: TorchSubject, pictures: torch.Tensor) -> list[Found]:
        x = as_float(pictures[: self.pictures])
        made = [self.reach(subject, x, k) for k in range(len(subject.classes))]
        sure = torch.stack([torch.logit(torch.tensor(m[2]).clamp(0.005, 0.995)) for m in made])
        return [Found(float(a), m[0], m[1]) for a, m in zip(stand_out(sure), made, strict=True)]

    def reach(
        self, subject: TorchSubject, x: torch.Tensor, k: int
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """(mask, pattern, mean probability of class ``k`` on the pictures of other classes with the trigger
        in).
        """
        with torch.no_grad():
            x = x[subject.logits(x).argmax(1) != k]
        n, (height, width) = len(x), x.shape[2:]
        pattern = torch.full((3, height, width), 0.5, device=x.device)
        mask = torch.zeros(1, height, width, device=x.device)
        if n == 0:
            return mask, pattern, 0.0
        aim = torch.full((n,), k, device=x.device)
        slopes = torch.zeros(3, height, width, device=x.device)
        for _ in range(self.rounds):
            held = (x + (pattern - x) * mask).requires_grad_(True)
            logits = subject.logits(held).float()
            (slope,) = torch.autograd.grad(-F.cross_entropy(logits / self.temperature, aim), held)
            slopes = 0.5 * slopes + slope.mean(0) / slope.mean(0).abs().mean().clamp(min=1e-12)
            mask = self.compact(slopes)
            pattern = (pattern + self.step * slopes.sign()).clamp(0, 1)
        with torch.no_grad():
            sure = subject.logits(x + (pattern - x) * mask).float().softmax(1)[:, k].mean()
        return mask, pattern, float(sure)

    def compact(self, slopes: torch.Tensor) -> torch.Tensor:
        """(1, h, w) the window where the gradient's size, summed over a neighbourhood, is largest: triggers
        are compact, noise is not.
        """
        energy = slopes.abs().sum(0, keepdim=True)
        near = F.avg_pool2d(energy[None], 3, 1, 1)[0]
        count = max(1, round(self.kept * near.numel()))
        return (near >= near.flatten().topk(count).values[-1]).float()
