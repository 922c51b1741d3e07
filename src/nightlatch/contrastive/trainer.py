"""One trainer for everything in this family: a list of weighted loss terms, and a selector that says which
pairs are trusted when.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from nightlatch.contrastive.augment import Views
from nightlatch.contrastive.pairs import Pairs
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
        generator = torch.Generator(device).manual_seed(seed)
        texts = Texts(
            student, pairs.captions, {k: self.wordings for t in self.terms for k in t.wordings}, seed
        )
        student.model.requires_grad_(True)
        optimizer, scaled = self._optimizer(student)
        size, kept = min(self.batch, len(pairs)), dict(stash)
        order, safe, epoch = torch.empty(0, dtype=torch.long, device=device), torch.empty(0), 0
        for step in range(self.steps):
            if len(order) < size:
                order = torch.randperm(len(pairs), generator=generator, device=device)
                safe, epoch = self.selector.safe(student, pairs, epoch).to(device), epoch + 1
            rows, order = order[:size], order[size:]
            batch = Batch(
                student=student, frozen=frozen, images=pairs.images, texts=texts, rows=rows, safe=safe[rows],
                partial=not isinstance(self.selector, Everything), generator=generator,
                views=self.views, step=step, steps=self.steps, poison=poison, stash=kept,
            )  # fmt: skip
            for group in optimizer.param_groups:
                group["lr"] = self.rate * self.schedule(step)
            losses = {t.name: t(batch) for t in self.terms}
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(scaled, self.clip)
            optimizer.step()
            yield step, {name: value.detach() for name, value in losses.items()}
        student.model.requires_grad_(False)

    def schedule(self, step: int) -> float:
        """Share of the largest rate at ``step``."""
        warm = min(1.0, (step + 1) / max(1, self.warm))
        return warm * 0.5 * (1 + math.cos(math.pi * step / max(1, self.steps)))

    def _optimizer(self, student: Subject) -> tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]:
        matrices = [p for p in student.model.parameters() if p.ndim >= 2]
        rest = [p for p in student.model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.decay}, {"params": rest, "weight_decay": 0.0}]
        fused = student.device.type == "cuda"
        return torch.optim.AdamW(groups, lr=self.rate, betas=(0.9, 0.98), eps=1e-6, fused=fused), [
            *matrices,
            *rest,
        ]


def finish(steps: Iterator[tuple[int, dict[str, torch.Tensor]]]) -> None:
    """Run all steps."""
    for _ in steps:
        pass
