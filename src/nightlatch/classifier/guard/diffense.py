"""Diffense-style detection (Hu and Chang 2024; the paper's text was not to be had, so the steps are ours): a
diffusion model learns the features that clean pictures have in a classifier, draws one under the guidance of
the inspected feature, and a large distance between both is suspicious.

It does so at several places of the classifier at once: at every feature map, at the input of the last layer,
at all of them together, and over the positions of one map. At each place there are two questions: is the
feature far from what the predicted class draws, and is it nearer to what another class draws? How rare each
answer is among clean pictures is added up.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape
from nightlatch.classifier.guard.features import enlarged
from nightlatch.classifier.guard.parts import Distance, Drawing, Map, Place, Vectors
from nightlatch.classifier.guard.tails import Combine, Tails, combined

HELD = 0.2
"""Part of the clean pictures that no network learns from, by which distances are scaled and their tails
measured.
"""


class FeatureDiffusion(Scorer):
    """A fitted Diffense: the places, and how rare their distances are on clean pictures."""

    def __init__(self, settings: Diffense, shape: Shape) -> None:
        super().__init__()
        self.settings = settings
        made: list[Place] = [Vectors(shape, settings.kept)] if settings.form != "map" else []
        wide = [k for k, m in enumerate(shape.maps) if m[1] * m[2] > 1]
        if settings.form != "vector" and wide:
            tap = range(len(shape.maps))[settings.tap] if len(shape.maps) >= abs(settings.tap) else 0
            made.append(Map(shape, tap if tap in wide else wide[-1], settings.channels))
        self.places = nn.ModuleList(made)
        self.names = tuple(name for place in made for name in place.names)
        self.tails = Tails(len(self.names))

    def parts(self) -> list[Place]:
        return [p for p in self.places if isinstance(p, Place)]

    def columns(self, batch: Batch) -> torch.Tensor:
        """(n, len(names)) distances at every place."""
        how = self.settings.drawing
        return torch.cat([p.columns(batch.seen, batch.labels, how) for p in self.parts()], 1)

    def chosen(self) -> list[int]:
        """Numbers of the columns that count."""
        only = self.settings.only
        return [k for k, n in enumerate(self.names) if not only or any(part in n for part in only)]

    def score(self, batch: Batch) -> torch.Tensor:
        rarity: torch.Tensor = self.tails(self.columns(batch))
        return combined(rarity[:, self.chosen()], self.settings.combine)

    def settle(self, held: Batch) -> None:
        """Choose the guidance and measure the tails on clean pictures that nothing was fitted to."""
        with torch.no_grad():
            for part in self.parts():
                part.settle(held.seen, held.labels, self.settings.drawing)
            self.tails.fit(self.columns(held))


@DETECTORS.register("diffense")
@dataclass(frozen=True, slots=True, kw_only=True)
class Diffense(Detector):
    """Diffusion over features, told the class that the classifier itself predicts.

    Args:
        form: feature vectors, the positions of the map at ``tap``, or both.
        kept: coordinates of a vector; a quarter of the clean pictures at most.
        channels: of a map.
        train: steps of training the denoisers, ``batch`` features each.
        distance: what is measured; the other two are there for comparison.
        start: share of the schedule from which is drawn.
        steps: of a draw.
        draws: for each picture.
        only: parts of the names of the columns that count; all by default.
        combine: how the columns become one score.
        copies: slightly changed copies of the clean pictures, to learn from.
    """

    name: ClassVar[str]
    form: str = "both"
    tap: int = -2
    kept: int = 96
    channels: int = 16
    train: int = 1500
    batch: int = 256
    rate: float = 1e-3
    distance: Distance = "guided"
    start: float = 0.5
    steps: int = 8
    draws: int = 2
    only: tuple[str, ...] = ()
    combine: Combine = "fisher"
    copies: int = 7

    @property
    def drawing(self) -> Drawing:
        return Drawing(distance=self.distance, start=self.start, steps=self.steps, draws=self.draws)

    def empty(self, shape: Shape) -> FeatureDiffusion:
        return FeatureDiffusion(self, shape)

    def run(self, scorer: Scorer, clean: Batch, seed: int) -> None:
        assert isinstance(scorer, FeatureDiffusion)
        known, held = split(clean, seed)
        many = enlarged(known, self.copies)
        for part in scorer.parts():
            part.fit(many.seen, many.labels, self.copies + 1)
            own = part.own(many.labels)
            part.train_denoiser(part.latent(many.seen, own), own, self.train, self.batch, self.rate)
        scorer.settle(held)


def split(clean: Batch, seed: int) -> tuple[Batch, Batch]:
    """(what the networks learn from, what distances are scaled by)."""
    order = torch.randperm(len(clean), generator=torch.Generator().manual_seed(seed)).to(clean.labels.device)
    held = max(2, round(HELD * len(clean)))
    return clean.at(order[held:]), clean.at(order[:held])


def variant(scorer: FeatureDiffusion, clean: Batch, seed: int, **changes: Any) -> FeatureDiffusion:
    """The same networks with other ``changes`` of what is measured and what counts, settled anew on the part
    of ``clean`` that they have not learned from.
    """
    made = copy.deepcopy(scorer)
    made.settings = replace(scorer.settings, **changes)
    made.settle(split(clean, seed)[1])
    return made
