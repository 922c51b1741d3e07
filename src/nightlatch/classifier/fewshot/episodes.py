"""Few-shot episodes: some classes, a few labelled pictures of each to learn from, others to be judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.classifier.data import Labelled
from nightlatch.errors import UsageError

Backbone = Callable[[torch.Tensor], torch.Tensor]
"""Pictures in 0..1 (n, 3, h, w) -> features (n, d), differentiable; frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """N-way K-shot with Q queries a class."""

    ways: int = 5
    shots: int = 5
    queries: int = 15


@dataclass(frozen=True, slots=True)
class Episodes:
    """E episodes at once.

    Args:
        support: (E, ways, shots, 3, h, w) in 0..1.
        queries: (E, ways, queries, 3, h, w) in 0..1.
    """

    support: torch.Tensor
    queries: torch.Tensor


def drawn(data: Labelled, form: Form, count: int, seed: int, together: int = 8) -> Iterator[Episodes]:
    """``count`` random episodes, ``together`` at a time.

    Raises:
        UsageError: too few classes with enough pictures.
    """
    labels = data.labels.cpu().numpy()
    rows = {int(k): np.flatnonzero(labels == k) for k in np.unique(labels) if k >= 0}
    rows = {k: r for k, r in rows.items() if len(r) >= form.shots + form.queries}
    if len(rows) < form.ways:
        raise UsageError(
            f"Only {len(rows)} classes have {form.shots + form.queries} pictures.",
            f"{form.ways} such classes are needed.",
        )
    rng = np.random.default_rng((seed, 53))
    for start in range(0, count, together):
        chosen = [_one(rows, form, rng) for _ in range(min(together, count - start))]
        index = torch.from_numpy(np.stack(chosen)).to(data.pictures.device)  # (E, ways, shots + queries)
        pictures = data.pictures[index].float() / 255
        yield Episodes(pictures[:, :, : form.shots], pictures[:, :, form.shots :])


def _one(
    rows: dict[int, np.ndarray[tuple[int], np.dtype[np.intp]]], form: Form, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    classes = rng.choice(sorted(rows), form.ways, replace=False)
    return np.stack([rng.choice(rows[int(k)], form.shots + form.queries, replace=False) for k in classes])


def featured(backbone: Backbone, pictures: torch.Tensor, batch: int = 512) -> torch.Tensor:
    """Features (..., d) of pictures (..., 3, h, w), without a graph."""
    with torch.no_grad():
        flat = torch.cat([backbone(p) for p in pictures.flatten(0, -4).split(batch)])
    return flat.view(*pictures.shape[:-3], -1)
