"""A classifier behind a purifier: every picture is renoised and denoised before it is judged (Blau et al.
2022; Nie et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.classifier.purify.strength import adaptive
from nightlatch.classifier.subject import Subject, as_float
from nightlatch.classifier.vary.model import PictureDiffusion

LEVELS = 8
"""Strengths that pictures are sorted into when each has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purifier:
    """Renoise and denoise.

    Args:
        model: a diffusion model of clean pictures.
        strength: share of the schedule; of an adaptive one the largest.
        steps: of denoising.
        kappa: 0 gives all pictures one strength; else that times its own noise level.
        least: smallest strength of an adaptive one.
    """

    model: PictureDiffusion
    strength: float = 0.3
    steps: int = 10
    kappa: float = 0.0
    least: float = 0.05

    def strengths(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n,) the strength for each picture."""
        x = as_float(pictures.to(self.model.device))
        if not self.kappa:
            return torch.full((len(x),), self.strength, device=x.device)
        return adaptive(x, self.model.schedule, self.kappa, self.least, self.strength)

    def __call__(self, pictures: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """Purified pictures in 0..1."""
        generator = torch.Generator(self.model.device).manual_seed(seed)
        x = as_float(pictures.to(self.model.device))
        step = max(self.strength - self.least, 1e-6) / (LEVELS - 1)
        level = ((self.strengths(pictures) - self.least) / step).round()
        made = torch.empty_like(x)
        for which in level.unique().tolist():
            rows = level == which
            strength = self.least + which * step
            made[rows] = self.model.vary(x[rows], strength, self.steps, generator)
        return made


def labels(subject: Subject, purifier: Purifier, pictures: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """(n,) what ``subject`` sees in the purified pictures."""
    return subject.look(purifier(pictures, seed)).labels


def disagree(
    subject: Subject, purifiers: tuple[Purifier, Purifier], pictures: torch.Tensor, seed: int = 0
) -> torch.Tensor:
    """(n,) how far apart the classifier's words are on what two purifiers, trained apart, make of a picture:
    total variation, 0..1.

    A backdoored purifier keeps or leads to what its trigger asks for; an honest one beside it does not.
    """
    first, second = (subject.look(p(pictures, seed)).logits.softmax(1) for p in purifiers)
    return (first - second).abs().sum(1) / 2
