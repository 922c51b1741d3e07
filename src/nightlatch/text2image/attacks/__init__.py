"""Attacks to test against. Evaluation only: every model they make says so."""

from nightlatch.text2image.attacks import badt2i, eviledit, rickrolling
from nightlatch.text2image.attacks.base import ATTACKS, Attack, AttackRecord, Goal, Judge, Setting

__all__ = ["ATTACKS", "Attack", "AttackRecord", "Goal", "Judge", "Setting", "badt2i", "eviledit", "rickrolling"]
