"""Scan of an encoder without any data of the attacker's: the smallest patch that makes all pictures look
alike, and what single words do.
"""

from nightlatch.contrastive.scan.collapse import Collapse, smallest
from nightlatch.contrastive.scan.words import CAPTIONS, whole_words

__all__ = ["CAPTIONS", "Collapse", "smallest", "whole_words"]
