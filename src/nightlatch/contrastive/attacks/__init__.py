"""Attacks to test against. Evaluation only: every model they make says so."""

from nightlatch.contrastive.attacks import blend, consistent, optimised, patch, sig, warp
from nightlatch.contrastive.attacks.base import ATTACKS, Attack, AttackRecord, Made, Setting

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackRecord",
    "Made",
    "Setting",
    "blend",
    "consistent",
    "optimised",
    "patch",
    "sig",
    "warp",
]
