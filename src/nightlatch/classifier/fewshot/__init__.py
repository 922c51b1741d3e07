"""Few-shot learning under attack: poisoned support sets, and how to clean them."""

from nightlatch.classifier.fewshot.attack import SupportPoison
from nightlatch.classifier.fewshot.defence import DEFENCES, Defence, softened
from nightlatch.classifier.fewshot.episodes import Backbone, Episodes, Form, drawn, featured
from nightlatch.classifier.fewshot.heads import HEADS, Head
from nightlatch.classifier.fewshot.trial import Outcome, trial

__all__ = [
    "DEFENCES", "HEADS", "Backbone", "Defence", "Episodes", "Form", "Head", "Outcome", "SupportPoison",
    "drawn", "featured", "softened",
    "trial",
]  # fmt: skip
