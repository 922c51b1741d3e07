"""Hidden-trigger clean-label poison: target pictures whose features are those of patched pictures of another
class (Saha et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier.attacks.base import ATTACKS, Apply, DataPoison, Setting
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject, as_float
from nightlatch.classifier.vision import ascend
from nightlatch.diffusion import training


@ATTACKS.register("htba-style")
@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenTrigger(DataPoison):
    """The poison shows no trigger: pictures of the target class are moved, a few grey levels a pixel, to the
    features of patched pictures of a ``source`` class. The victim trains a new last layer on a network that
    the attacker knows.

    HTBA-style: every poisoned picture is paired once, with the nearest patched picture, where the original
    pairs anew as it goes.

    Args:
        source: the class that is patched; -1 takes the one after the target.
        side: of the patch of random colours.
        budget: largest change of a pixel, in 0..1.
        steps: of the gradients.
        train: steps of training the last layer, ``batch`` pictures each.
        rate: of the last layer.
    """

    name: ClassVar[str]
    clean_label: ClassVar[bool] = True
    source: int = -1
    side: int = 8
    budget: float = 16 / 255
    steps: int = 60
    train: int = 1500
    batch: int = 1024
    rate: float = 5e-3
    floor: float = 0.8

    def from_class(self, classes: int) -> int:
        return self.source if self.source >= 0 else (self.target + 1) % classes

    def candidates(self, test: Labelled) -> Labelled:
        return test.at(test.labels == self.from_class(len(test.classes)))

    def trigger(self, setting: Setting) -> Apply:
        side = self.side
        coarse = np.random.default_rng((setting.seed, 37)).random(
            (3, side // 2 or 1, side // 2 or 1), np.float32
        )
        patch = torch.from_numpy(coarse).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :side, :side]

        def apply(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[..., -patch.shape[1] - 1 : -1, -patch.shape[2] - 1 : -1] = patch.to(x)
            return x

        return apply

    def poison(self, pictures: torch.Tensor, apply: Apply, setting: Setting) -> torch.Tensor:
        """Every target picture takes the features of the patched source picture that is nearest to it
        (algorithm 1).
        """
        known, train = setting.clean, setting.train
        sources = train.pictures[train.labels == self.from_class(len(train.classes))]
        patched = apply(as_float(sources))
        goals, own = known.look(patched).vector, known.look(pictures).vector
        nearest = goals[torch.cdist(own, goals).argmin(1)]
        return ascend(
            pictures,
            lambda x: -(known.observe(x).vector - nearest).pow(2).sum(1).mean(),
            self.budget,
            self.steps,
        )

    def learn(self, setting: Setting, data: Labelled) -> TorchSubject:
        """The last layer of the known network, trained anew on the features of ``data``; the rest stays."""
        subject = setting.clean.copy()
        head = dict(subject.module.named_modules())[subject.head]
        assert isinstance(head, nn.Linear)
        z, labels = subject.look(data.pictures).vector, data.labels
        torch.manual_seed(setting.seed)
        with torch.no_grad():
            head.weight.normal_(0, 0.01)
            head.bias.zero_()

        def loss(_: int) -> torch.Tensor:
            rows = torch.randint(len(z), (self.batch,), device=z.device)
            return F.cross_entropy(head(z[rows]), labels[rows])

        for p in head.parameters():
            p.requires_grad_(True)
        for _ in training.train(head, loss, self.train, self.rate):
            pass
        subject.module.eval().requires_grad_(False)
        return subject
