"""Few-shot learning under attack: poisoned support sets, and how to clean them."""

from nightlatch.classifier.fewshot.attack import SupportPoison
from nightlatch.classifier.fewshot.defence import DEFENCES, Defence
from nightlatch.classifier.fewshot.episodes import Backbone, Form, Pools, drawn, pools, unit
from nightlatch.classifier.fewshot.heads import HEADS, Head
from nightlatch.classifier.fewshot.trial import Outcome, trial
from nightlatch.classifier.fewshot.variations import varied

__all__ = [
    "DEFENCES", "HEADS", "Backbone", "Defence", "Form", "Head", "Outcome", "Pools", "SupportPoison", "drawn",
    "pools", "trial", "unit", "varied",
]  # fmt: skip
