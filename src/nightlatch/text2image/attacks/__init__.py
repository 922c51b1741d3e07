"""Attacks to test against. Evaluation only: every model they make says so."""

from nightlatch.text2image.attacks import badt2i, eviledit, rickrolling
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.goal import Goal, GoalKind
from nightlatch.text2image.attacks.record import AttackRecord, HeldOut
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackRecord",
    "Goal",
    "GoalKind",
    "HeldOut",
    "Setting",
    "TriggerKind",
    "badt2i",
    "eviledit",
    "rickrolling",
]
