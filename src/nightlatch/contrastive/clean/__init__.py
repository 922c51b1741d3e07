"""Cleaners of a poisoned model. None is told the attack, the trigger or the target."""

from nightlatch.contrastive.clean.base import METHODS, Job, Method
from nightlatch.contrastive.clean.finetune import CleanClip, FineTune, Par, RoClip, SafeClip, TaCleaner
from nightlatch.contrastive.clean.shortcut import UnlearnShortcut
from nightlatch.contrastive.clean.tokens import TokenUnlearn

__all__ = [
    "METHODS",
    "CleanClip",
    "FineTune",
    "Job",
    "Method",
    "Par",
    "RoClip",
    "SafeClip",
    "TaCleaner",
    "TokenUnlearn",
    "UnlearnShortcut",
]
