"""One trainer for everything in this family: a list of weighted loss terms, and a selector that says which
pairs are trusted when.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from nightlatch.contrastive import grammar
from nightlatch.contrastive.augment import Views
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.recorded import Step
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms.base import Batch, Term
from nightlatch.contrastive.terms.texts import Texts


class Selector(abc.ABC):
    """Which pairs are trusted; may change from epoch to epoch."""

    @abc.abstractmethod
    def safe(self, student: Subject, pairs: Pairs, epoch: int) -> torch.Tensor:
        """(n,) bool on the device of the pictures."""


class Everything(Selector):
    """Every pair, always."""

    def safe(self, student: Subject, pairs: Pairs, epoch: int) -> torch.Tensor:
        return torch.ones(len(pairs), dtype=torch.bool, device=pairs.images.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """AdamW with warm-up and cosine, over batches drawn without replacement.

    Args:
        terms: of the loss; they are added.
        steps: of the optimiser.
        rate: largest learning rate.
        warm: steps of linear warm-up.
        decay: weight decay of matrices; biases, norms and the scale have none (Radford et al. 2021, section
            2.5).
        views: of pictures; none is mirrored where captions say left and right.
        wordings: other texts of each caption that are made ahead, of each kind that a term needs.
        clip: largest norm of the gradient.
    """

    terms: Sequence[Term]
    steps: int
    batch: int = 128
    rate: float = 1e-4
    warm: int = 20
    decay: float = 0.1
    wordings: int = 2
    clip: float = 1.0
    views: Views = field(default_factory=Views)
    selector: Selector = field(default_factory=Everything)

    def run(
        self,
        student: Subject,
        frozen: Subject,
        pairs: Pairs,
        seed: int,
        poison: Pairs | None = None,
        **stash: torch.Tensor,
    ) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
        """Train ``student`` in place on ``pairs``; yields (step, each term's weighted value, a scalar on the
        device) after every step.

        Args:
            poison: pairs for terms that forget.
            stash: what terms find in ``batch.stash``.
        """
        device = student.device
        pairs = pairs.to(device)
        poison = poison.to(device) if poison is not None else None
        drawn, order_of = (torch.Generator(device).manual_seed(seed + k) for k in (0, 1_000_003))
        wanted = {k: self.wordings for t in self.terms for k in t.wordings}
        texts = Texts(student, pairs.captions, wanted, seed)
        views = replace(self.views, mirror=0.0) if grammar.sided(pairs.captions) else self.views
        student.model.requires_grad_(True)
        optimizer, scaled = self._optimizer(student)
        size, partial = min(self.batch, len(pairs)), not isinstance(self.selector, Everything)
        batch = Batch(
            student=student, frozen=frozen, images=pairs.images, texts=texts, partial=partial,
            rows=torch.zeros(size, dtype=torch.long, device=device),
            safe=torch.ones(size, dtype=torch.bool, device=device), generator=drawn,
            views=views, steps=self.steps, poison=poison, stash=dict(stash),
        )  # fmt: skip

        def work() -> torch.Tensor:
            fresh = batch.again()
            losses = torch.stack([t(fresh) for t in self.terms])
            optimizer.zero_grad(set_to_none=True)
            losses.sum().backward()
            torch.nn.utils.clip_grad_norm_(scaled, self.clip)
            optimizer.step()
            return losses.detach()

        one = Step(work, device, [drawn], fixed=not partial and all(t.fixed for t in self.terms))
        order, safe, epoch = torch.empty(0, dtype=torch.long, device=device), torch.empty(0), 0
        for step in range(self.steps):
            if len(order) < size:
                order = torch.randperm(len(pairs), generator=order_of, device=device)
                safe, epoch = self.selector.safe(student, pairs, epoch).to(device), epoch + 1
            batch.rows.copy_(order[:size])
            batch.safe.copy_(safe[order[:size]])
            batch.step, order = step, order[size:]
            for group in optimizer.param_groups:
                _set(group, self.rate * self.schedule(step))
            losses = one()
            yield step, {t.name: losses[i] for i, t in enumerate(self.terms)}
        student.model.requires_grad_(False)

    def schedule(self, step: int) -> float:
        """Share of the largest rate at ``step``."""
        warm = min(1.0, (step + 1) / max(1, self.warm))
        return warm * 0.5 * (1 + math.cos(math.pi * step / max(1, self.steps)))

    def _optimizer(self, student: Subject) -> tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]:
        matrices = [p for p in student.model.parameters() if p.ndim >= 2]
        rest = [p for p in student.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.decay}, {"params": rest, "weight_decay": 0.0}]
        on_gpu = student.device.type == "cuda"
        rate = torch.tensor(self.rate, device=student.device) if on_gpu else self.rate
        more = {"fused": True, "capturable": True} if on_gpu else {}
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6, **more)
        return optimizer, [*matrices, *rest]


def _set(group: dict[str, Any], rate: float) -> None:
    """A tensor keeps its place, so that a recorded step reads the new rate."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def finish(steps: Iterator[tuple[int, dict[str, torch.Tensor]]]) -> None:
    """Run all steps."""
    for _ in steps:
        pass
