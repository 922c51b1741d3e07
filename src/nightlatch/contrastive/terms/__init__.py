"""Loss terms, one file each, with its equation beside it; a ``Trainer`` adds them up."""

from nightlatch.contrastive.terms.agree import InModal
from nightlatch.contrastive.terms.bank import NearestCaption
from nightlatch.contrastive.terms.base import TERMS, Batch, Term
from nightlatch.contrastive.terms.clip import ImageText
from nightlatch.contrastive.terms.forget import Forget, KeepWeights
from nightlatch.contrastive.terms.push import Push
from nightlatch.contrastive.terms.stay import Stay
from nightlatch.contrastive.terms.subtext import SubTexts
from nightlatch.contrastive.terms.texts import Texts

__all__ = [
    "TERMS", "Batch", "Forget", "ImageText", "InModal", "KeepWeights", "NearestCaption", "Push", "Stay",
    "SubTexts", "Term", "Texts",
]  # fmt: skip
