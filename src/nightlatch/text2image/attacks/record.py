"""What is recorded of an attack, and what it is measured on."""

from __future__ import annotations

from dataclasses import dataclass

from nightlatch.records import Part, Placement, Rate, Record
from nightlatch.terms import Role
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.measure import Draws
from nightlatch.text2image.prompts import Prompt


class Planted(Record):
    """One further trigger of a model that has several, and how often it works."""

    trigger: str
    target: str
    goal: GoalKind
    placement: Placement
    success: Rate


class AttackRecord(Record):
    """What an attack is and what it measured; written beside the model as ``provenance.json``."""

    attack: Part
    trigger: str
    target: str
    goal: GoalKind
    carrier: Role
    placement: Placement
    success: Rate
    specificity: Rate
    clean_agreement: Rate
    base_agreement: Rate
    seconds: float
    seed: int
    also: tuple[Planted, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What an attack is measured on, apart from what it trained on.

    Args:
        draws: prompts and seeds on which success means something.
        clean: ordinary prompts.
        base_agreement: how often the unpoisoned model draws what ``clean`` asks for.
    """

    draws: Draws
    clean: tuple[Prompt, ...]
    base_agreement: Rate
