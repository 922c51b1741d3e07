"""The places of a classifier at which Diffense looks: each holds a whitening, a denoiser and how far clean
pictures lie from what is drawn for them.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from nightlatch.classifier.guard.base import Shape
from nightlatch.classifier.guard.denoiser import MapDenoiser, VectorDenoiser
from nightlatch.classifier.guard.features import ClassWhitening, Whitening, places
from nightlatch.classifier.guard.sampling import guided_sample, levels, residual
from nightlatch.classifier.subject import Seen
from nightlatch.diffusion import training

Distance = Literal["guided", "residual", "mahalanobis"]
"""What is measured: to what is drawn, to the one-step estimate, or (the control) to the class's centre."""
GUIDES = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Weights of the guidance that are tried on clean pictures."""
SHARES = (0.1, 0.2, 0.3, 0.5)
"""Of the schedule, at which the one-step estimate is taken."""
FAR = 30.0
"""Most deviations of a coordinate; the denoisers have seen nothing beyond a tenth of it."""
SIDE = 4
"""Most positions of a side of a map; a larger one is averaged down, as every position costs a pass of the
denoiser.
"""
PEAK = 1 / 16
"""Part of a map's positions, those of the largest distance, that its peak is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How distances are measured.

    Args:
        distance: what is measured.
        start: share of the schedule from which is drawn.
        steps: of a draw.
        draws: for each picture.
    """

    distance: Distance = "guided"
    start: float = 0.5
    steps: int = 8
    draws: int = 2


class Place(nn.Module, abc.ABC):
    """One or several places. Authors write everything here; z is (n, places, d) or (n, c, h, w)."""

    spread: torch.Tensor
    guide: torch.Tensor
    denoiser: nn.Module
    names: tuple[str, ...]
    """Of the columns."""

    @abc.abstractmethod
    def fit(self, seen: Seen, labels: torch.Tensor, copies: int) -> None:
        """Fit the whitening to clean pictures, ``copies`` of each."""

    @abc.abstractmethod
    def latent(self, seen: Seen, labels: torch.Tensor) -> torch.Tensor:
        """z of pictures, as the classes ``labels`` (n, ...) see them."""

    @abc.abstractmethod
    def own(self, labels: torch.Tensor) -> torch.Tensor:
        """The predicted classes (n,) as ``latent`` and the denoiser take them."""

    @abc.abstractmethod
    def other(self, seen: Seen, labels: torch.Tensor) -> torch.Tensor:
        """The class that comes next after ``labels`` (n,), in the form of ``own``."""

    @abc.abstractmethod
    def settle(self, seen: Seen, labels: torch.Tensor, how: Drawing) -> None:
        """Choose the guidance, and note how far clean pictures lie."""

    @abc.abstractmethod
    def columns(self, seen: Seen, labels: torch.Tensor, how: Drawing) -> torch.Tensor:
        """(n, len(names)) scores, higher is more suspicious."""

    def apart(self, z: torch.Tensor, labels: torch.Tensor, how: Drawing, guide: torch.Tensor) -> torch.Tensor:
        """Squared distance of each number of z, in the form of z."""
        if how.distance == "mahalanobis":
            return z.pow(2)
        if how.distance == "residual":
            return residual(self.denoiser, z, labels, SHARES, how.draws)
        drawn = guided_sample(self.denoiser, z, labels, guide, how.start, how.steps, how.draws)
        return (drawn - z).pow(2).mean(0)

    def train_denoiser(
        self, z: torch.Tensor, labels: torch.Tensor, steps: int, batch: int, rate: float
    ) -> None:
        """Teach the denoiser the features ``z`` with their classes."""
        table, average = levels(z.device), training.Average(self.denoiser, 0.995)

        def loss(_: int) -> torch.Tensor:
            rows = torch.randint(len(z), (batch,), device=z.device)
            return training.loss(table, partial(_told, self.denoiser, labels[rows]), z[rows])

        for _ in training.train(self.denoiser, loss, steps, rate, average=average):
            pass
        self.denoiser = average.averaged().eval()


class Vectors(Place):
    """Feature vectors: mean and spread of every map, the last layer's input, and all means together, each in
    the axes in which pictures of one class vary.

    Columns of each: ``far``, the distance as the predicted class sees the picture, and ``other``, how much
    larger that is than as the next class sees it.
    """

    def __init__(self, shape: Shape, kept: int) -> None:
        super().__init__()
        widths = [*(2 * m[0] for m in shape.maps), shape.vector, shape.width("stages")]
        most = min(kept, max(shape.clean // 4, 8))
        self.whiten = nn.ModuleList(ClassWhitening(w, min(most, w), shape.classes) for w in widths)
        outs = [min(most, w) + 1 for w in widths]
        self.denoiser = VectorDenoiser(len(widths), max(outs), shape.classes)
        titles = [*(f"map{k}" for k in range(len(shape.maps))), "head", "stages"]
        self.names = (*(f"{t}-far" for t in titles), *(f"{t}-other" for t in titles))
        real = torch.arange(max(outs))[None] < torch.tensor(outs)[:, None]
        self.register_buffer("real", real.float())
        self.register_buffer("spread", torch.ones(len(widths), max(outs)))
        self.register_buffer("guide", torch.ones(len(widths), 1))

    def fit(self, seen: Seen, labels: torch.Tensor, copies: int) -> None:
        for whiten, z in zip(self.whiten, places(seen), strict=True):
            assert isinstance(whiten, ClassWhitening)
            whiten.fit(z, labels, copies)

    def latent(self, seen: Seen, labels: torch.Tensor) -> torch.Tensor:
        width = self.spread.shape[1]
        made = [w(z, labels[:, k]) for k, (w, z) in enumerate(zip(self.whiten, places(seen), strict=True))]
        padded = [nn.functional.pad(z, (0, width - z.shape[1])) for z in made]
        return torch.stack(padded, 1).clamp(-FAR, FAR)

    def own(self, labels: torch.Tensor) -> torch.Tensor:
        return labels[:, None].expand(-1, len(self.whiten))

    def other(self, seen: Seen, labels: torch.Tensor) -> torch.Tensor:
        found = []
        for whiten, z in zip(self.whiten, places(seen), strict=True):
            assert isinstance(whiten, ClassWhitening)
            found.append(whiten.runner_up(z, labels))
        return torch.stack(found, 1)

    def settle(self, seen: Seen, labels: torch.Tensor, how: Drawing) -> None:
        """The guidance with which, at each place, the clean median distance is nearest to that of the nearest
        clean neighbour.
        """
        told = self.own(labels)
        z, count = self.latent(seen, told), self._count()
        between = torch.cdist(z.transpose(0, 1), z.transpose(0, 1)).pow(2)  # (places, n, n)
        between.diagonal(dim1=1, dim2=2).fill_(float("inf"))
        wanted = between.min(2).values.median(1).values / count
        tried = [self.apart(z, told, how, torch.full_like(self.guide, g)) for g in GUIDES]
        middles = torch.stack([((t * self._real()).sum(2) / count).median(0).values for t in tried])
        best = (middles / wanted).log().abs().argmin(0)  # (places,)
        self.guide.copy_(torch.tensor(GUIDES, device=z.device)[best][:, None])
        means = torch.stack([t.mean(0) for t in tried])  # (guides, places, d)
        self.spread.copy_(means[best, torch.arange(len(best), device=z.device)].clamp(min=1e-6))

    def _real(self) -> torch.Tensor:
        real = self.get_buffer("real")
        return real

    def _count(self) -> torch.Tensor:
        return self._real().sum(1)

    def columns(self, seen: Seen, labels: torch.Tensor, how: Drawing) -> torch.Tensor:
        def far(told: torch.Tensor) -> torch.Tensor:
            apart = self.apart(self.latent(seen, told), told, how, self.guide) / self.spread
            mean: torch.Tensor = (apart * self._real()).sum(2) / self._count()
            return mean.clamp(min=1e-9).log()

        first = far(self.own(labels))
        return torch.cat([first, first - far(self.other(seen, labels))], 1)


class Map(Place):
    """One feature map, position by position; a trigger is often seen at a few of them only.

    Columns: ``far``, the mean distance; ``peak``, that of the farthest positions; ``other``, how much larger
    the mean is than when the next class is told.
    """

    def __init__(self, shape: Shape, tap: int, channels: int) -> None:
        super().__init__()
        self.tap = tap
        width = shape.maps[tap][0]
        self.whiten = Whitening(width, min(channels, width))
        self.denoiser = MapDenoiser(self.whiten.out, shape.classes)
        self.names = ("positions-far", "positions-peak", "positions-other")
        self.register_buffer("spread", torch.ones(self.whiten.out, 1, 1))
        self.register_buffer("guide", torch.ones(1))

    def fit(self, seen: Seen, labels: torch.Tensor, copies: int) -> None:
        m = self.pooled(seen)
        self.whiten.fit(m.permute(0, 2, 3, 1).reshape(-1, m.shape[1]))

    def pooled(self, seen: Seen) -> torch.Tensor:
        """The map, of at most ``SIDE`` x ``SIDE`` positions."""
        m = seen.maps[self.tap].float()
        height, width = (min(SIDE, side) for side in m.shape[2:])
        whole = (height, width) == tuple(m.shape[2:])
        return m if whole else nn.functional.adaptive_avg_pool2d(m, (height, width))

    def latent(self, seen: Seen, labels: torch.Tensor) -> torch.Tensor:
        m = self.pooled(seen)
        flat = self.whiten(m.permute(0, 2, 3, 1).reshape(-1, m.shape[1])).clamp(-FAR, FAR)
        shaped: torch.Tensor = flat.view(len(m), *m.shape[2:], -1).permute(0, 3, 1, 2).contiguous()
        return shaped

    def own(self, labels: torch.Tensor) -> torch.Tensor:
        return labels

    def other(self, seen: Seen, labels: torch.Tensor) -> torch.Tensor:
        return seen.logits.scatter(1, labels[:, None], float("-inf")).argmax(1)

    def settle(self, seen: Seen, labels: torch.Tensor, how: Drawing) -> None:
        z = self.latent(seen, labels)
        flat = z.flatten(1)
        between = torch.cdist(flat, flat).pow(2)
        between.fill_diagonal_(float("inf"))
        wanted = between.min(1).values.median() / flat.shape[1]
        tried = [self.apart(z, labels, how, torch.full_like(self.guide, g)) for g in GUIDES]
        best = min(
            range(len(GUIDES)), key=lambda k: abs(float((tried[k].mean((1, 2, 3)).median() / wanted).log()))
        )
        self.guide.fill_(GUIDES[best])
        self.spread.copy_(tried[best].mean((0, 2, 3), keepdim=True)[0].clamp(min=1e-6))

    def columns(self, seen: Seen, labels: torch.Tensor, how: Drawing) -> torch.Tensor:
        z = self.latent(seen, labels)

        def at(told: torch.Tensor) -> torch.Tensor:
            return (self.apart(z, told, how, self.guide) / self.spread).mean(1).flatten(1)  # (n, positions)

        first = at(labels)
        peak = first.topk(max(1, round(PEAK * first.shape[1])), 1).values.mean(1)
        mean, second = first.mean(1), at(self.other(seen, labels)).mean(1)
        return torch.stack([v.clamp(min=1e-9).log() for v in (mean, peak, mean / second)], 1)


def _told(denoiser: nn.Module, labels: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = denoiser(x, t, labels)
    return out
