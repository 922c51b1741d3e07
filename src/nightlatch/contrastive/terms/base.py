"""What every loss term shares: the batch that it looks at, with each embedding computed once, and the
registry.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F

from nightlatch.contrastive.augment import Views
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject, to_pixels
from nightlatch.contrastive.terms.texts import Texts
from nightlatch.registry import Registry


@dataclass(kw_only=True)
class Batch:
    """One step's pairs and whatever a term may ask of them; nothing is computed that no term asks for.

    Args:
        rows: positions in the training pairs, (n,) on the device.
        safe: which of them the selector trusts, (n,) bool.
        partial: whether it may trust fewer than all.
        frozen: the model before training.
        step: of ``steps``.
    """

    student: Subject
    frozen: Subject
    images: torch.Tensor
    texts: Texts
    rows: torch.Tensor
    safe: torch.Tensor
    partial: bool
    generator: torch.Generator
    views: Views
    step: int = 0
    steps: int = 1
    poison: Pairs | None = None
    stash: dict[str, torch.Tensor] = field(default_factory=dict)

    def again(self) -> Batch:
        """The same without what was computed for it."""
        return replace(self)

    @cached_property
    def pixels(self) -> torch.Tensor:
        return to_pixels(self.images[self.rows])

    @cached_property
    def view(self) -> torch.Tensor:
        """Another view of each picture, (n, 3, h, w)."""
        return self.views(self.pixels, self.generator)

    @cached_property
    def image(self) -> torch.Tensor:
        """I of the student, (n, d)."""
        return self.student.image(self.pixels)

    @cached_property
    def text(self) -> torch.Tensor:
        """T of the student, (n, d)."""
        return self.student.text(self.texts.own[self.rows])

    @cached_property
    def image_view(self) -> torch.Tensor:
        """I of the other view."""
        return self.student.image(self.view)

    @cached_property
    def text_view(self) -> torch.Tensor:
        """T of another wording."""
        return self.student.text(self.texts.pick("reworded", self.rows, self.generator))

    @cached_property
    def image_before(self) -> torch.Tensor:
        """I of the frozen model, without gradient."""
        with torch.no_grad():
            return self.frozen.image(self.pixels)

    @cached_property
    def text_before(self) -> torch.Tensor:
        """T of the frozen model, without gradient."""
        with torch.no_grad():
            return self.frozen.text(self.texts.own[self.rows])

    @property
    def scale(self) -> torch.Tensor:
        return self.student.scale

    @cached_property
    def same(self) -> torch.Tensor:
        """Which pairs have equal captions, (n, n) bool; the diagonal always."""
        group = self.texts.group[self.rows]
        return group[:, None] == group[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term(abc.ABC):
    """One summand of a loss. Authors write ``loss``, and ``wordings`` where it needs other texts of each
    caption.
    """

    name: ClassVar[str]
    fixed: ClassVar[bool] = True
    """Whether its shapes are the same in every step, nothing in it waits for a value, and all that it keeps
    stays in its place; such a step can be recorded.
    """
    weight: float = 1.0

    @property
    def wordings(self) -> tuple[str, ...]:
        """Kinds of other texts: "reworded", "positive", "negative"."""
        return ()

    @abc.abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """A scalar with gradients to the student."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The weighted term.

        Raises:
            ValueError: it is no scalar.
        """
        value = self.loss(batch)
        if value.ndim:
            raise ValueError(f"{self.name} gave a loss of shape {tuple(value.shape)}")
        return self.weight * value


def matched(
    a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor, same: torch.Tensor | None = None
) -> torch.Tensor:
    """1/2 [CE(s A B^T) + CE(s B A^T)] of unit rows (n, d); the labels are the diagonal, or spread evenly over
    ``same`` (n, n) bool.
    """
    logits = scale * a @ b.T
    if same is None:
        own = torch.arange(len(a), device=a.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    wanted = same.float() / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


TERMS: Registry[Term] = Registry("loss term", Term)  # type: ignore[type-abstract]
