"""Cleaners that need trusted pairs only: a list of loss terms each."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from nightlatch.contrastive import trainer
from nightlatch.contrastive.clean.base import METHODS, Job, Method, Steps
from nightlatch.contrastive.selectors import SafeShare
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms import ImageText, InModal, NearestCaption, Push, SubTexts, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned(Method):
    """Fine-tuning on trusted pairs.

    Args:
        steps: of the optimiser; the papers' ten epochs of 100,000 pairs scaled to small models.
        batch: the largest that two processor cores train quickly.
        rate: ten times the papers' 1e-5 for ResNet-50 and ViT-B, since small models were trained with larger
            rates.
    """

    steps: int = 300
    batch: int = 128
    rate: float = 1e-4

    @abc.abstractmethod
    def terms(self) -> Sequence[Term]:
        """The loss."""

    def selector(self) -> trainer.Selector:
        return trainer.Everything()

    def run(self, student: Subject, frozen: Subject, job: Job) -> Steps:
        made = trainer.Trainer(
            terms=self.terms(), steps=self.steps, batch=self.batch, rate=self.rate, selector=self.selector()
        )
        yield from made.run(student, frozen, job.trusted, job.seed)


@METHODS.register("fine-tune")
@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune(Tuned):
    """The trivial rival: Lclip on trusted pairs."""

    def terms(self) -> Sequence[Term]:
        return [ImageText()]


@METHODS.register("cleanclip")
@dataclass(frozen=True, slots=True, kw_only=True)
class CleanClip(Tuned):
    """Lclip + w * in-modal agreement (Bansal et al. 2023, equation 5).

    Args:
        agree: w; the paper's 1.
    """

    agree: float = 1.0

    def terms(self) -> Sequence[Term]:
        return [ImageText(), InModal(weight=self.agree)]


@METHODS.register("ta-cleaner")
@dataclass(frozen=True, slots=True, kw_only=True)
class TaCleaner(CleanClip):
    """CleanCLIP + w3 * sub-texts ("TA-Cleaner-style": Xun et al. 2024, arXiv 2409.17601; abstract and
    reviews).

    Args:
        subtexts: w3.
    """

    subtexts: float = 1.0

    def terms(self) -> Sequence[Term]:
        return [ImageText(), InModal(weight=self.agree), SubTexts(weight=self.subtexts)]


@METHODS.register("par")
@dataclass(frozen=True, slots=True, kw_only=True)
class Par(Tuned):
    """Perturb and recover: Lclip - 1/2 (phi(I, I0) + phi(T, T0)) (Singh et al. 2024, arXiv 2412.00727).

    Args:
        tau: how far embeddings are pushed, as a mean squared distance.
    """

    tau: float = 2.15

    def terms(self) -> Sequence[Term]:
        return [ImageText(), Push(tau=self.tau)]


@METHODS.register("roclip")
@dataclass(frozen=True, slots=True, kw_only=True)
class RoClip(Tuned):
    """RoCLIP's training, made for poisoned pre-training data, as a cleaner (Yang et al. 2023)."""

    def terms(self) -> Sequence[Term]:
        return [NearestCaption()]


@METHODS.register("safeclip")
@dataclass(frozen=True, slots=True, kw_only=True)
class SafeClip(Tuned):
    """SafeCLIP's last stage as a cleaner: Lclip on other views of trusted pairs, in-modal agreement on all
    (Yang et al. 2024).
    """

    def terms(self) -> Sequence[Term]:
        return [ImageText(views=True), InModal()]

    def selector(self) -> trainer.Selector:
        return SafeShare()
