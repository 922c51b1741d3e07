"""Backdoors for evaluation only, each in a file of its own kind."""

from nightlatch.classifier.attacks import adaptive, cleanlabel, dynamic, hidden, invisible, static, warp
from nightlatch.classifier.attacks.base import ATTACKS, Attack, AttackRecord, Planted, Setting

__all__ = [
    "ATTACKS", "Attack", "AttackRecord", "Planted", "Setting", "adaptive", "cleanlabel", "dynamic", "hidden",
    "invisible",
    "static", "warp",
]  # fmt: skip
