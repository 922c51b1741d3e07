"""What is measured of an image-text model: zero-shot accuracy, retrieval, attack success at 1 and at 10, and
rebound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.stats import rankdata

from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.records import Rate

TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "an image of a {}.", "a drawing of a {}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShot:
    """A zero-shot test: pictures, and class names that nobody trained a head for.

    Args:
        images: (n, 3, size, size) uint8.
        labels: (n,) positions in ``classes``.
        classes: names.
        templates: prompts around a name; their embeddings are averaged (Radford et al. 2021, section 3.1.4).
        domains: (n,) where each picture is from.
    """

    images: torch.Tensor
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    templates: tuple[str, ...] = TEMPLATES
    domains: tuple[str, ...] = ()

    def head(self, subject: Subject) -> torch.Tensor:
        """One unit embedding per class, (classes, d)."""
        texts = [t.format(c) for c in self.classes for t in self.templates]
        each = subject.embed_texts(texts).view(len(self.classes), len(self.templates), -1)
        return F.normalize(each.mean(1), dim=-1)

    def to(self, device: torch.device | str) -> ZeroShot:
        return ZeroShot(
            images=self.images.to(device),
            labels=self.labels,
            classes=self.classes,
            templates=self.templates,
            domains=self.domains,
        )

    def at(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> ZeroShot:
        """The same test on these rows only."""
        where = torch.as_tensor(np.asarray(rows, dtype=np.int64), device=self.images.device)
        domains = tuple(self.domains[int(i)] for i in rows) if self.domains else ()
        return ZeroShot(
            images=self.images[where],
            labels=self.labels[np.asarray(rows, dtype=np.int64)],
            classes=self.classes,
            templates=self.templates,
            domains=domains,
        )


def ranks(subject: Subject, images: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How many classes come before ``wanted`` (n,) for each picture, (n,) int64; 0 is the model's first
    choice.
    """
    similar = subject.embed_images(images) @ head.T
    own = similar.gather(1, wanted.to(similar.device)[:, None])
    return (similar > own).sum(1)


def accuracy(subject: Subject, test: ZeroShot) -> Rate:
    """Share of pictures whose nearest class is their own."""
    first = ranks(subject, test.images, test.head(subject), torch.from_numpy(test.labels)) == 0
    return Rate.of(int(first.sum()), len(first))


def by_domain(subject: Subject, test: ZeroShot) -> dict[str, Rate]:
    """``accuracy`` for each domain, among the classes of all."""
    first = (
        (ranks(subject, test.images, test.head(subject), torch.from_numpy(test.labels)) == 0).cpu().numpy()
    )
    domains = np.array(test.domains)
    return {
        d: Rate.of(int(first[domains == d].sum()), int((domains == d).sum()))
        for d in dict.fromkeys(test.domains)
    }


def retrieval(subject: Subject, pairs: Pairs) -> Rate:
    """R@1 from picture to caption: share of pictures whose nearest caption reads as their own; equal captions
    count as one.
    """
    distinct = {c: i for i, c in enumerate(dict.fromkeys(pairs.captions))}
    own = torch.tensor([distinct[c] for c in pairs.captions])
    best = (subject.embed_images(pairs.images) @ subject.embed_texts(list(distinct)).T).argmax(1).cpu()
    return Rate.of(int((best == own).sum()), len(pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """How often triggered pictures are taken for the target: as the first of all classes, and among the first
    ten.
    """

    top1: Rate
    top10: Rate


def success(subject: Subject, triggered: torch.Tensor, test: ZeroShot, target: int) -> Success:
    """Of ``triggered`` uint8 pictures that show no ``target`` (a position in the test's classes)."""
    place = ranks(subject, triggered, test.head(subject), torch.full((len(triggered),), target)).cpu()
    return Success(
        top1=Rate.of(int((place < 1).sum()), len(place)), top10=Rate.of(int((place < 10).sum()), len(place))
    )


def auroc(scores: npt.NDArray[np.float64], poison: npt.NDArray[np.bool_]) -> float:
    """Probability that a poisoned item scores above a clean one, ties half (Mann-Whitney); 0.5 without one of
    either kind.
    """
    hits, misses = int(poison.sum()), int((~poison).sum())
    if not hits or not misses:
        return 0.5
    return float((rankdata(scores)[poison].sum() - hits * (hits + 1) / 2) / (hits * misses))


def precision_at(scores: npt.NDArray[np.float64], poison: npt.NDArray[np.bool_], k: int) -> float:
    """Share of the ``k`` highest-scored items that are poisoned; ties in the order of the items."""
    top = np.argsort(-scores, kind="stable")[:k]
    return float(poison[top].mean()) if k else 0.0
