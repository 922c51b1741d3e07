"""Rivals that look at answers only: how a prediction stands changes of the picture, or of the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape
from nightlatch.classifier.subject import TorchSubject, as_float, logits_of


class Overlays(Scorer):
    """Clean pictures to lay over inspected ones."""

    known: torch.Tensor

    def __init__(self, settings: Strip, shape: Shape) -> None:
        super().__init__()
        self.settings = settings
        count = min(settings.overlays, shape.clean)
        self.register_buffer("known", torch.zeros(count, 3, *shape.picture, dtype=torch.uint8))

    def score(self, batch: Batch) -> torch.Tensor:
        x, total = as_float(batch.pictures), torch.zeros(len(batch), device=batch.pictures.device)
        for one in as_float(self.known):
            p = batch.subject.logits((x + one) / 2).float().softmax(1)
            total += (p * p.clamp(min=1e-9).log()).sum(1)
        return total / len(self.known)


@DETECTORS.register("strip")
@dataclass(frozen=True, slots=True, kw_only=True)
class Strip(Detector):
    """Minus the mean entropy of predictions when clean pictures are laid over: a trigger keeps its answer
    (Gao et al. 2019, eq. 4).
    """

    name: ClassVar[str]
    overlays: int = 32

    def empty(self, shape: Shape) -> Overlays:
        return Overlays(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, Overlays)
        rows = torch.randperm(len(clean))[: len(scorer.known)]
        scorer.known.copy_(clean.pictures[rows.to(clean.pictures.device)])


class Brighter(Scorer):
    """For every class, how steady its clean pictures are when their pixels are multiplied."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, settings: ScaleUp, shape: Shape) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(shape.classes))
        self.register_buffer("std", torch.ones(shape.classes))

    def steady(self, batch: Batch) -> torch.Tensor:
        """(n,) share of the multiples that keep the prediction."""
        x = as_float(batch.pictures)
        first = batch.seen.labels
        kept = [
            (batch.subject.logits((x * m).clamp(0, 1)).argmax(1) == first).float()
            for m in self.settings.multiples
        ]
        return torch.stack(kept).mean(0)

    def score(self, batch: Batch) -> torch.Tensor:
        labels = batch.seen.labels
        return (self.steady(batch) - self.mean[labels]) / self.std[labels]


@DETECTORS.register("scale-up")
@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp(Detector):
    """How often the prediction stands when pixels are multiplied, standardised by class (Guo et al. 2023,
    with data: eq. 4).
    """

    name: ClassVar[str]
    multiples: tuple[int, ...] = tuple(range(2, 12))

    def empty(self, shape: Shape) -> Brighter:
        return Brighter(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, Brighter)
        with torch.no_grad():
            steady = scorer.steady(clean)
        scorer.mean.fill_(float(steady.mean()))
        scorer.std.fill_(max(float(steady.std()), 0.05))
        for k in clean.labels.unique().tolist():
            own = steady[clean.labels == k]
            if len(own) >= 5:
                scorer.mean[k], scorer.std[k] = own.mean(), own.std().clamp(min=0.05)


Corruption = Callable[[torch.Tensor, float], torch.Tensor]
"""Pictures in 0..1 and a severity in 0..1 -> corrupted pictures."""
CORRUPTIONS: dict[str, Corruption] = {
    "noise": lambda x, s: (x + 0.25 * s * torch.randn_like(x)).clamp(0, 1),
    "blur": lambda x, s: augment.blur(x, 2.0 * s),
    "brightness": lambda x, s: (x + 0.5 * s).clamp(0, 1),
    "darkness": lambda x, s: (x - 0.5 * s).clamp(0, 1),
    "contrast": lambda x, s: x.mean((1, 2, 3), keepdim=True) * 0.9 * s + x * (1 - 0.9 * s),
    "pixelate": lambda x, s: F.interpolate(
        F.interpolate(x, scale_factor=1 - 0.7 * s, mode="area"), x.shape[2:], mode="nearest"
    ),
    "grey": lambda x, s: x * (1 - s) + x.mean(1, keepdim=True) * s,
    "dropout": lambda x, s: torch.where(torch.rand_like(x[:, :1]) < 0.4 * s, torch.full_like(x, 0.5), x),
}
"""What ``TeCo`` does to pictures; severities are ours, set so that about half of clean predictions change at
the highest.
"""


class Corrupted(Scorer):
    """Nothing is learned."""

    def __init__(self, settings: TeCo) -> None:
        super().__init__()
        self.settings = settings

    def score(self, batch: Batch) -> torch.Tensor:
        x, first, levels = as_float(batch.pictures), batch.seen.labels, self.settings.levels
        stands = []
        for corrupt in CORRUPTIONS.values():
            until = torch.full((len(x),), float(levels), device=x.device)
            for level in reversed(range(levels)):
                changed = batch.subject.logits(corrupt(x, (level + 1) / levels)).argmax(1) != first
                until = torch.where(changed, torch.full_like(until, float(level)), until)
            stands.append(until)
        return torch.stack(stands).std(0)


@DETECTORS.register("teco")
@dataclass(frozen=True, slots=True, kw_only=True)
class TeCo(Detector):
    """How differently a prediction stands different corruptions: the spread of the severity at which it
    changes (Liu et al. 2023, eq. 3).
    """

    name: ClassVar[str]
    levels: int = 5

    def empty(self, shape: Shape) -> Corrupted:
        return Corrupted(self)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        """Nothing to learn."""


NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


class Amplified(Scorer):
    """From which norm layer on weights are amplified."""

    first: torch.Tensor

    def __init__(self, settings: ScaledParameters) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("first", torch.tensor(0))

    def score(self, batch: Batch) -> torch.Tensor:
        assert isinstance(batch.subject, TorchSubject)
        total = torch.zeros(len(batch), device=batch.pictures.device)
        for k in range(self.settings.models):
            model = amplified(batch.subject, int(self.first) + k, self.settings.factor)
            p = model(batch.subject.preprocessing(batch.pictures)).float().softmax(1)
            total += p.gather(1, batch.seen.labels[:, None])[:, 0]
        return total / self.settings.models


def norms(module: nn.Module) -> list[str]:
    """Names of the norm layers with weights."""
    return [n for n, m in module.named_modules() if isinstance(m, NORMS) and m.weight is not None]


def amplified(subject: TorchSubject, count: int, factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A copy of the model whose last ``count`` norm layers are multiplied by ``factor``."""
    module = copy.deepcopy(subject.module)
    parts = dict(module.named_modules())
    for name in norms(module)[::-1][:count]:
        layer = parts[name]
        assert isinstance(layer, NORMS)
        layer.weight.data.mul_(factor)
        if layer.bias is not None:
            layer.bias.data.mul_(factor)
    return lambda x: logits_of(module(x))


@DETECTORS.register("ibd-psc")
@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledParameters(Detector):
    """Mean confidence in the prediction over models with amplified norm layers (Hou et al. 2024, eq. 4): a
    backdoor's answer stands.

    Args:
        factor: of amplification.
        models: how many, each with one more layer amplified.
        error: of clean pictures, from which on layers count as amplified enough (algorithm 1).
    """

    name: ClassVar[str]
    needs_weights: ClassVar[bool] = True
    factor: float = 1.5
    models: int = 5
    error: float = 0.6

    def empty(self, shape: Shape) -> Amplified:
        return Amplified(self)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, Amplified) and isinstance(clean.subject, TorchSubject)
        last, x = len(norms(clean.subject.module)), clean.subject.preprocessing(clean.pictures)
        scorer.first.fill_(max(last - self.models, 0))
        with torch.no_grad():
            for count in range(1, max(last - self.models, 1) + 1):
                wrong = amplified(clean.subject, count, self.factor)(x).argmax(1) != clean.labels
                if float(wrong.float().mean()) > self.error:
                    scorer.first.fill_(count)
                    break
