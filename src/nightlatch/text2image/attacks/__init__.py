"""Attacks to test against. Evaluation only: every model they make says so."""

from nightlatch.text2image.attacks import adapter, badt2i, eviledit, inversion, rickrolling, templates
from nightlatch.text2image.attacks.base import ATTACKS, Attack
from nightlatch.text2image.attacks.goal import Goal, GoalKind
from nightlatch.text2image.attacks.record import AttackRecord, HeldOut, Planted
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackRecord",
    "Goal",
    "GoalKind",
    "HeldOut",
    "Planted",
    "Setting",
    "TriggerKind",
    "adapter",
    "badt2i",
    "eviledit",
    "inversion",
    "rickrolling",
    "templates",
]
