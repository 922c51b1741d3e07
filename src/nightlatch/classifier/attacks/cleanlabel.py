"""Label-consistent poison: the target's own pictures are made hard to know, so that the patch on them is
learned (Turner et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.classifier.attacks.base import ATTACKS, Apply, DataPoison, Setting
from nightlatch.classifier.attacks.static import checkerboard
from nightlatch.classifier.subject import predict
from nightlatch.classifier.vision import ascend


@ATTACKS.register("label-consistent")
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConsistent(DataPoison):
    """Pictures of the target class are moved away from it by projected gradients on a clean victim, then get
    a patch in every corner.

    Args:
        budget: largest change of a pixel by the gradients, in 0..1.
        steps: of the gradients.
        side: of a patch.
    """

    name: ClassVar[str]
    clean_label: ClassVar[bool] = True
    budget: float = 16 / 255
    steps: int = 30
    side: int = 3
    floor: float = 0.8

    def trigger(self, setting: Setting) -> Apply:
        patch, side = checkerboard(self.side), self.side

        def apply(x: torch.Tensor) -> torch.Tensor:
            x, board = x.clone(), patch.to(x)
            for rows in (slice(0, side), slice(-side, None)):
                for columns in (slice(0, side), slice(-side, None)):
                    x[..., rows, columns] = board
            return x

        return apply

    def poison(self, pictures: torch.Tensor, apply: Apply, setting: Setting) -> torch.Tensor:
        judge = setting.clean
        labels = predict(judge, pictures)
        away = ascend(pictures, lambda x: F.cross_entropy(judge.logits(x), labels), self.budget, self.steps)
        return apply(away)
