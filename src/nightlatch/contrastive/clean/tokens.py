"""UBT-style token-local unlearning: found poison forgets the caption words that carry the shortcut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.contrastive import locate
from nightlatch.contrastive.clean.base import METHODS, Job, Method, Steps
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms import Forget, ImageText, KeepWeights
from nightlatch.contrastive.trainer import Trainer


@METHODS.register("ubt")
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUnlearn(Method):
    """L = mean over poison of max(0, I.T_W - m) + Lclip(trusted) + mu ||theta - theta_0||^2 (UBT-style: Liang
    et al. 2024, arXiv 2403.16257, and Liu et al. 2024, arXiv 2409.19526; abstracts and reviews were readable,
    numbers are this project's).

    T_W is the embedding of the caption reduced to its shortcut words, m the mean similarity of pairs that do
    not belong together.

    Args:
        forget: weight of the first term.
        keep: mu.
        whole_caption: forget the whole caption instead of its shortcut words, to see what token-locality is
            worth.
    """

    needs_poison: ClassVar[bool] = True
    steps: int = 200
    batch: int = 128
    rate: float = 1e-4
    forget: float = 5.0
    keep: float = 0.01
    whole_caption: bool = False

    def run(self, student: Subject, frozen: Subject, job: Job) -> Steps:
        assert job.poison is not None
        words = () if self.whole_caption else locate.shortcut_words(frozen, job.poison, job.trusted)
        texts = [locate.reduced(c, words) if words else c for c in job.poison.captions]
        trainer = Trainer(
            terms=[Forget(weight=self.forget), ImageText(), KeepWeights(weight=self.keep)],
            steps=self.steps, batch=self.batch, rate=self.rate,
        )  # fmt: skip
        stash = {"words": frozen.embed_texts(texts), "floor": floor(frozen, job.trusted)}
        yield from trainer.run(student, frozen, job.trusted, job.seed, job.poison, **stash)


def floor(subject: Subject, pairs: Pairs, most: int = 512) -> torch.Tensor:
    """m: mean similarity of pictures with captions of other pairs, a scalar."""
    few = pairs.at(range(min(most, len(pairs))))
    table = subject.embed_images(few.images) @ subject.embed_texts(few.captions).T
    other = [[a != b for b in few.captions] for a in few.captions]
    mask = torch.tensor(other, device=table.device)
    return table[mask].mean() if mask.any() else table.mean()
