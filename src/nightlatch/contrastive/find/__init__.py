"""Finders of poisoned pairs: each gives one score per pair, higher means more likely poisoned."""

from nightlatch.contrastive.find.base import FINDERS, Finder, Found
from nightlatch.contrastive.find.cause import CommonCause
from nightlatch.contrastive.find.density import Dao, KDistance, Lid, Slof
from nightlatch.contrastive.find.fragile import Fragile
from nightlatch.contrastive.find.mixture import SimilarityMixture
from nightlatch.contrastive.find.shortcut import ShortcutOverfit

__all__ = [
    "FINDERS",
    "CommonCause",
    "Dao",
    "Finder",
    "Found",
    "Fragile",
    "KDistance",
    "Lid",
    "ShortcutOverfit",
    "SimilarityMixture",
    "Slof",
]
