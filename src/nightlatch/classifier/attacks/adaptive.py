"""A backdoor made to pass detectors: features of triggered pictures are pulled to those of the target's clean
pictures while the victim trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.attacks.base import ATTACKS, Attack, Planted, Setting
from nightlatch.classifier.attacks.static import BadNets
from nightlatch.classifier.subject import as_float
from nightlatch.classifier.training import descend


@ATTACKS.register("adaptive")
@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(Attack):
    """A patch, trained with the distance of mean and spread of features, at every tap that a guard reads,
    between triggered pictures and clean ones of the target class (our own stress test, after Tan and Shokri
    2020).

    Args:
        pull: weight of that distance.
        side: of the patch.
    """

    name: ClassVar[str]
    pull: float = 0.1
    side: int = 3

    def run(self, setting: Setting) -> Planted:
        subject, data, recipe = setting.victim(), setting.train, setting.recipe
        apply = BadNets(target=self.target, side=self.side).trigger(setting)
        own = (data.labels == self.target).nonzero().flatten()

        def loss(rows: torch.Tensor) -> torch.Tensor:
            m = max(2, round(self.share * len(rows)))
            friends = own[torch.randint(len(own), (m,), device=own.device)]
            both = torch.cat([rows, friends])
            x, labels = as_float(data.pictures[both]), data.labels[both].clone()
            x = torch.cat([apply(x[:m]), x[m:]])
            labels[:m] = self.target
            seen = subject.observe(augment.usual(x, recipe.pad, recipe.mirror))
            features = seen.stages()
            bad, good = features[:m], features[-m:].detach()
            scale = good.std(0) + 0.1 * good.std(0).mean() + 1e-6
            apart = ((bad.mean(0) - good.mean(0)) / scale).pow(2).mean() + (
                (bad.std(0) - good.std(0)) / scale
            ).pow(2).mean()
            return F.cross_entropy(seen.logits, labels) + self.pull * apart

        descend(subject, len(data), loss, recipe)
        none = torch.zeros(len(data), dtype=torch.bool, device=data.pictures.device)
        return Planted(subject, apply, data, none)
