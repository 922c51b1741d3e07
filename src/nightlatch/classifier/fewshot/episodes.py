"""Few-shot episodes: some classes, a few labelled pictures of each to learn from, others to be judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

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
class Pools:
    """Pictures that episodes are drawn from, so that the features of each are computed once.

    Args:
        own: (n, 3, h, w) in 0..1, the attacker's pictures, of classes that no episode has.
        support: (classes, sets, shots, 3, h, w) in 0..1, several support sets of each class.
        queries: (classes, q, 3, h, w) in 0..1; none is a support picture.
    """

    own: torch.Tensor
    support: torch.Tensor
    queries: torch.Tensor


@dataclass(frozen=True, slots=True)
class Drawn:
    """Episodes as numbers of entries in the pools.

    Args:
        classes: (E, ways).
        sets: (E, ways), which support set of its class.
        queries: (E, ways, queries), numbers within a class.
    """

    classes: torch.Tensor
    sets: torch.Tensor
    queries: torch.Tensor

    def part(self, rows: slice) -> Drawn:
        """Some of the episodes."""
        return Drawn(self.classes[rows], self.sets[rows], self.queries[rows])

    def support_of(self, pool: torch.Tensor) -> torch.Tensor:
        """(E, ways, shots, ...) the support entries of ``pool`` (classes, sets, shots, ...)."""
        return pool[self.classes, self.sets]

    def queries_of(self, pool: torch.Tensor) -> torch.Tensor:
        """(E, ways, queries, ...) the query entries of ``pool`` (classes, q, ...)."""
        return pool[self.classes[..., None], self.queries]


def pools(
    learned: Labelled, judged: Labelled, form: Form, sizes: tuple[int, int, int] = (100, 2, 30), seed: int = 0
) -> Pools:
    """At most ``sizes`` classes, and support sets and query pictures of each; every third class is the attacker's.

    Args:
        learned: support and the attacker's pictures are from here.
        judged: queries are from here; may be the same data.

    Raises:
        UsageError: too few classes with enough pictures.
    """
    rng = np.random.default_rng((seed, 53))
    left, right = _rows(learned), _rows(judged)
    apart = 0 if judged is not learned else form.queries
    usable = [
        k
        for k in sorted(left.keys() & right.keys())
        if len(left[k]) >= form.shots + apart and len(right[k]) >= form.queries
    ]
    own = usable[::3][: max(0, len(usable) - form.ways)]
    if not own:
        raise UsageError(
            f"Only {len(usable)} classes have the {form.shots + apart} pictures that an episode needs.",
            f"{form.ways} such classes are needed, and one more for the attacker.",
        )
    novel = [k for k in usable if k not in own]
    if len(novel) > sizes[0]:
        novel = sorted(int(k) for k in rng.choice(novel, sizes[0], replace=False))
    sets = min(sizes[1], *((len(left[k]) - apart) // form.shots for k in novel))
    asked = min(sizes[2], *(len(right[k]) - (sets * form.shots if apart else 0) for k in novel))
    mine = np.concatenate([rng.permutation(left[k])[: 4 * form.shots] for k in own])
    support, queries = [], []
    for k in novel:
        order = rng.permutation(left[k])
        support.append(order[: sets * form.shots].reshape(sets, form.shots))
        queries.append((order[sets * form.shots :] if apart else rng.permutation(right[k]))[:asked])
    return Pools(
        _pictures(learned, mine), _pictures(learned, np.stack(support)), _pictures(judged, np.stack(queries))
    )


def _rows(data: Labelled) -> dict[int, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    labels = data.labels.cpu().numpy()
    return {int(k): np.flatnonzero(labels == k) for k in np.unique(labels) if k >= 0}


def _pictures(data: Labelled, rows: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> torch.Tensor:
    return data.pictures[torch.from_numpy(rows).to(data.pictures.device)].float() / 255


def drawn(pools: Pools, form: Form, count: int, seed: int) -> Drawn:
    """``count`` random episodes."""
    rng = np.random.default_rng((seed, 59))
    device = pools.support.device
    classes, sets = pools.support.shape[:2]

    def different(n: int, of: int, *shape: int) -> torch.Tensor:
        """(*shape, n) numbers below ``of``, no two alike in a row."""
        return torch.from_numpy(rng.random((*shape, of)).argsort(-1)[..., :n]).to(device)

    return Drawn(
        different(form.ways, classes, count),
        torch.from_numpy(rng.integers(sets, size=(count, form.ways))).to(device),
        different(form.queries, pools.queries.shape[1], count, form.ways),
    )


def unit(backbone: Backbone, pictures: torch.Tensor, batch: int = 128) -> torch.Tensor:
    """Unit features (..., d) of pictures (..., 3, h, w), without a graph."""
    with torch.no_grad():
        flat = torch.cat([backbone(p) for p in pictures.flatten(0, -4).split(batch)])
    return F.normalize(flat, dim=-1).view(*pictures.shape[:-3], -1)
