"""Scan of an encoder without any data of the attacker's: the smallest patch that makes all pictures look
alike, and what single words do.
"""

from nightlatch.contrastive.scan.collapse import Collapse, smallest
from nightlatch.contrastive.scan.encoder import CAPTIONS, text_encoder, whole_words
from nightlatch.contrastive.scan.words import Pull, sweep

__all__ = ["CAPTIONS", "Collapse", "Pull", "smallest", "sweep", "text_encoder", "whole_words"]
