"""Similarity mixture: pairs whose caption does not fit the picture, told by two Gaussians (the split of
SafeCLIP as a finder).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nightlatch.contrastive.find.base import FINDERS, Finder, Scores
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.selectors import fit, similarities
from nightlatch.contrastive.subject import Subject


@FINDERS.register("similarity-mixture")
@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityMixture(Finder):
    """Posterior of the component with the lower mean similarity, finer where it saturates: - (x - mean of the
    higher) / its deviation is added at a millionth (Yang et al. 2024, arXiv 2310.05862, section 5.2).

    It judges captions by the model at hand: a clean model (or one that is only warmed up) sees poison as
    unfitting; a model that has learned the shortcut does not, and the table says how much that costs.
    """

    fewest: ClassVar[int] = 16

    def run(self, subject: Subject, pairs: Pairs, seed: int) -> Scores:
        x = similarities(subject, pairs)
        mixture = fit(x)
        scores: Scores = (1 - mixture.high(x)) - 1e-6 * (x - mixture.mean[1]) / mixture.deviation[1]
        return scores
