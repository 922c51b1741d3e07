"""One contract for every text-to-image architecture, and one file for each of them."""

from nightlatch.text2image.model.condition import Condition
from nightlatch.text2image.model.sites import Maps, Sites, Trainable
from nightlatch.text2image.model.subject import Part, Sampling, Subject
from nightlatch.text2image.model.vocabulary import Ids, Tokens, Vocabulary

__all__ = [
    "Condition",
    "Ids",
    "Maps",
    "Part",
    "Sampling",
    "Sites",
    "Subject",
    "Tokens",
    "Trainable",
    "Vocabulary",
]
