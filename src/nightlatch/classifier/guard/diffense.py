"""Diffense-style detection (Hu and Chang 2024; the paper's text was not to be had, so the steps are ours): a
diffusion model learns the features that clean pictures have in a classifier, draws one under the guidance of
the inspected feature, and a large distance between both is suspicious.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape
from nightlatch.classifier.guard.denoiser import MapDenoiser, N, VectorDenoiser
from nightlatch.classifier.guard.features import Taps, Whitening, enlarged, features
from nightlatch.diffusion import tables, training
from nightlatch.diffusion.schedule import Discrete

Denoise = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(noised features, timesteps (n,), classes (n,)) -> noise."""
GUIDES = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Weights of the guidance that are tried on clean pictures."""
FORGET = 0.1
"""Part of the training features whose class is not told (Ho and Salimans 2022)."""


def levels(device: torch.device) -> Discrete:
    return tables.linear(N, 1e-4, 0.05, device=device)


def guided_sample(
    denoise: Denoise,
    z: torch.Tensor,
    labels: torch.Tensor,
    guide: float,
    start: float,
    steps: int,
    draws: int,
) -> torch.Tensor:
    """(draws, n, ...) features drawn under the guidance of ``z`` (n, ...).

    From z noised to the share ``start`` of the schedule (1: from noise alone), deterministic steps towards
    clean features. At each the estimate z0hat is moved to (1 - g) z0hat + g z with g = w r^2 / (1 + w r^2),
    r^2 = s^2 / (a^2 + s^2): the posterior mean where z is z0 plus noise of variance 1 / w and z0 has variance
    r^2 (Song et al. 2023, eq. 7). w = 0 ignores z, and w -> infinity copies it.
    """
    table = levels(z.device)
    first = table.at_share(start)
    times = list(dict.fromkeys(float(round(first * (steps - i) / steps)) for i in range(steps)))
    many, told = z.repeat(draws, *[1] * (z.ndim - 1)), labels.repeat(draws)
    eps = torch.randn_like(many)
    x = eps if start >= 1 else table.at(times[0], z.ndim).noised(many, eps)
    for t, following in zip(times, [*times[1:], None], strict=True):
        now = table.at(t, z.ndim)
        out = denoise(x, torch.full((len(x),), t, device=x.device), told)
        r2 = now.s.pow(2) / (now.a.pow(2) + now.s.pow(2))
        g = guide * r2 / (1 + guide * r2)
        z0 = now.x0(out, x) * (1 - g) + many * g
        x = table.step(now.out(z0, x), x, t, following)
    return x.view(draws, *z.shape)


def residual(
    denoise: Denoise, z: torch.Tensor, labels: torch.Tensor, shares: tuple[float, ...], draws: int
) -> torch.Tensor:
    """(n, ...) mean over timesteps and noise of (z - z0hat)^2 / (s / a)^2: the one-step form, without
    sampling.
    """
    table, total = levels(z.device), torch.zeros_like(z)
    for share in shares:
        t = table.at_share(share)
        now = table.at(t, z.ndim)
        for _ in range(draws):
            x = now.noised(z, torch.randn_like(z))
            z0 = now.x0(denoise(x, torch.full((len(z),), t, device=z.device), labels), x)
            total += (z - z0).pow(2) / (now.s / now.a).pow(2)
    return total / (len(shares) * draws)


class FeatureDiffusion(Scorer):
    """A fitted Diffense: the whitening, the denoiser, the guidance chosen, and how large distances are on
    clean pictures.
    """

    spread: torch.Tensor
    guide: torch.Tensor

    def __init__(self, settings: Diffense, shape: Shape) -> None:
        super().__init__()
        self.settings, self.classes = settings, shape.classes
        self.maps = settings.form == "map"
        if self.maps:
            channels, _, _ = shape.maps[settings.tap]
            self.whiten = Whitening(channels, min(settings.channels, channels))
            self.denoiser: nn.Module = MapDenoiser(self.whiten.out, shape.classes)
        else:
            width = shape.width(settings.taps)
            self.whiten = Whitening(width, min(settings.kept, width, max(shape.clean // 4, 8)))
            self.denoiser = VectorDenoiser(self.whiten.out, shape.classes)
        self.register_buffer("spread", torch.ones(self.whiten.out))
        self.register_buffer("guide", torch.tensor(1.0))

    def latent(self, batch: Batch) -> torch.Tensor:
        """(n, d) whitened vectors, or (n, c, h, w) maps whose channels are whitened."""
        if not self.maps:
            made: torch.Tensor = self.whiten(features(batch, self.settings.taps)).clamp(-30, 30)
            return made
        m = batch.seen.maps[self.settings.tap]
        flat = self.whiten(m.permute(0, 2, 3, 1).reshape(-1, m.shape[1])).clamp(-30, 30)
        shaped: torch.Tensor = flat.view(len(m), *m.shape[2:], -1).permute(0, 3, 1, 2).contiguous()
        return shaped

    def distances(self, z: torch.Tensor, labels: torch.Tensor, guide: float) -> torch.Tensor:
        """(n, channels) squared distance between z and what is drawn under its guidance; of maps the mean
        over positions.
        """
        s = self.settings
        if s.steps:
            drawn = guided_sample(self.denoiser, z, labels, guide, s.start, s.steps, s.draws)
            apart = (drawn - z).pow(2).mean(0)
        else:
            apart = residual(self.denoiser, z, labels, (0.1, 0.2, 0.3, 0.5), s.draws)
        return apart.mean((2, 3)) if apart.ndim == 4 else apart

    def score(self, batch: Batch) -> torch.Tensor:
        z = self.latent(batch)
        apart = self.distances(z, batch.labels, float(self.guide)) / self.spread
        if self.settings.contrast:
            untold = torch.full_like(batch.labels, self.classes)
            free = self.distances(z, untold, float(self.guide)) / self.spread
            return apart.mean(1).log() + self.settings.contrast * (apart.mean(1).log() - free.mean(1).log())
        return apart.mean(1).log()


@DETECTORS.register("diffense")
@dataclass(frozen=True, slots=True, kw_only=True)
class Diffense(Detector):
    """Diffusion over features, told the class that the classifier itself predicts.

    Args:
        form: one vector a picture, or the feature map at ``tap``.
        taps: features of the vector form.
        kept: coordinates that the vector form keeps.
        channels: that the map form keeps.
        train: steps of training the denoiser, ``batch`` features each.
        start: share of the schedule from which is drawn.
        steps: of a draw; 0 takes the one-step residual instead.
        draws: for each picture.
        contrast: how much counts that the feature fits its class worse than it fits clean pictures of any
            class.
        copies: slightly changed copies of the clean pictures, to learn from.
    """

    name: ClassVar[str]
    form: str = "vector"
    taps: Taps = "stages"
    tap: int = -2
    kept: int = 64
    channels: int = 16
    train: int = 3000
    batch: int = 256
    rate: float = 1e-3
    start: float = 0.5
    steps: int = 10
    draws: int = 4
    contrast: float = 1.0
    copies: int = 7

    def empty(self, shape: Shape) -> FeatureDiffusion:
        return FeatureDiffusion(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, FeatureDiffusion)
        known = enlarged(clean, self.copies)
        if scorer.maps:
            m = known.seen.maps[self.tap]
            scorer.whiten.fit(m.permute(0, 2, 3, 1).reshape(-1, m.shape[1])[:200_000])
        else:
            scorer.whiten.fit(features(known, self.taps))
        z, labels, table = scorer.latent(known), known.labels, levels(clean.pictures.device)
        average = training.Average(scorer.denoiser, 0.995)

        def loss(_: int) -> torch.Tensor:
            rows = torch.randint(len(z), (self.batch,), device=z.device)
            told = torch.where(torch.rand(len(rows), device=z.device) < FORGET, scorer.classes, labels[rows])
            return training.loss(table, partial(_told, scorer.denoiser, told), z[rows])

        for _ in training.train(scorer.denoiser, loss, self.train, self.rate, average=average):
            pass
        scorer.denoiser = average.averaged().eval()
        with torch.no_grad():
            self.settle(scorer, scorer.latent(clean), clean.labels)

    def settle(self, scorer: FeatureDiffusion, z: torch.Tensor, labels: torch.Tensor) -> None:
        """Choose the guidance with which the clean median distance is nearest to that of the nearest clean
        neighbour, and note its spread.
        """
        flat = z.flatten(1)
        between = torch.cdist(flat, flat).pow(2)
        between.fill_diagonal_(float("inf"))
        wanted = between.min(1).values.median() / flat.shape[1]
        tried = {g: scorer.distances(z, labels, g) for g in (GUIDES if self.steps else (1.0,))}
        best = min(tried, key=lambda g: abs(float((tried[g].mean(1).median() / wanted).log())))
        scorer.guide.fill_(best)
        scorer.spread.copy_(tried[best].mean(0).clamp(min=1e-6))


def _told(denoiser: nn.Module, labels: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = denoiser(x, t, labels)
    return out
