"""Train past poison: rebuild a data set from variations, teach a student on them, rank what is poisoned."""

from nightlatch.classifier.vary.base import VARIATIONS, ByDiffusion, Variation
from nightlatch.classifier.vary.choice import named
from nightlatch.classifier.vary.colour import matched
from nightlatch.classifier.vary.model import PictureDiffusion, PictureRecipe
from nightlatch.classifier.vary.ranking import disagreement
from nightlatch.classifier.vary.student import Distil, distillation

__all__ = [
    "VARIATIONS", "ByDiffusion", "Distil", "PictureDiffusion", "PictureRecipe", "Variation", "disagreement",
    "distillation", "matched",
    "named",
]  # fmt: skip
