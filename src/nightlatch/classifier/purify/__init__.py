"""Clean the picture before it is judged, and see what a backdoored cleaner would do."""

from nightlatch.classifier.purify.diff2 import Diff2
from nightlatch.classifier.purify.purifier import Purifier, disagree, labels
from nightlatch.classifier.purify.strength import adaptive, distortion

__all__ = ["Diff2", "Purifier", "adaptive", "disagree", "distortion", "labels"]
