"""Is one of these pictures triggered? Detectors that learn from clean pictures, behind one guard."""

from nightlatch.classifier.guard import clusters, consistency, diffense, distance
from nightlatch.classifier.guard.base import DETECTORS, Batch, Detector, Scorer, Shape, scores, threshold
from nightlatch.classifier.guard.guard import Answer, Checked, Guard, Guarded, GuardRecord

__all__ = [
    "DETECTORS", "Answer", "Batch", "Checked", "Detector", "Guard", "GuardRecord", "Guarded", "Scorer",
    "Shape", "clusters",
    "consistency", "diffense", "distance", "scores", "threshold",
]  # fmt: skip
