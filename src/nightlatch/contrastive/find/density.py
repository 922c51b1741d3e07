"""Local density of picture embeddings: k-dist, LID, SLOF and DAO (Huang et al. 2025, arXiv 2502.01385).

All are relative to a batch of other pairs, so that poison is rarer there than k and stands apart. Neighbours
are indexed in the whole distance table, without the own row: the released code removes the row first and then
looks positions up in the full table, which replaces half of the neighbours by unrelated rows. Published
figures of SLOF and DAO may therefore differ.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.contrastive.find.base import FINDERS, Finder, Scores
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The k nearest others of each row: distances (n, k), ascending, and which rows they are, (n, k)."""

    distance: torch.Tensor
    index: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor, k: int) -> Neighbours:
        """Of rows (n, d), n > k, by Euclidean distance."""
        table = torch.cdist(x.double(), x.double())
        table.fill_diagonal_(float("inf"))
        distance, index = table.topk(k, largest=False)
        return cls(distance=distance.clamp(min=1e-9), index=index)


def k_distance(near: Neighbours) -> torch.Tensor:
    """d_k, (n,)."""
    return near.distance[:, -1]


def lid(near: Neighbours) -> torch.Tensor:
    """Local intrinsic dimension, - k / sum_j log(d_j / d_k + 1e-4) (Amsaleg et al. 2015, the
    maximum-likelihood estimate), (n,).
    """
    ratio = near.distance / near.distance[:, -1:]
    return -near.distance.shape[1] / (ratio + 1e-4).log().sum(1).clamp(max=-1e-3)


def log_slof(near: Neighbours) -> torch.Tensor:
    """Mean over neighbours o of log( d_k(x) / d_k(o) ), (n,): SLOF on a logarithmic scale, about 0 in uniform
    surroundings.
    """
    d = k_distance(near)
    return (d[:, None].log() - d[near.index].log()).mean(1)


def log_dao(near: Neighbours) -> torch.Tensor:
    """Mean over neighbours o of LID(o) log( d_k(x) / d_k(o) ), (n,): the dimension-aware outlier score in its
    stable form.
    """
    d = k_distance(near)
    return (lid(near)[near.index] * (d[:, None].log() - d[near.index].log())).mean(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Density(Finder):
    """A density score of picture embeddings.

    Args:
        k: neighbours; the paper's 16.
        batch: pairs that are each other's surroundings (the paper: the training batch, up to some thousands).
        rounds: random partitions into batches; scores are averaged.
    """

    fewest: ClassVar[int] = 24
    k: int = 16
    batch: int = 1024
    rounds: int = 3

    @abc.abstractmethod
    def score(self, near: Neighbours) -> torch.Tensor:
        """(n,) from the neighbours in one batch."""

    def run(self, subject: Subject, pairs: Pairs, seed: int) -> Scores:
        x = subject.embed_images(pairs.images)
        rng, total = np.random.default_rng((seed, 53)), np.zeros(len(pairs))
        for _ in range(self.rounds):
            for rows in np.array_split(rng.permutation(len(pairs)), max(1, round(len(pairs) / self.batch))):
                near = Neighbours.of(x[torch.from_numpy(rows).to(x.device)], min(self.k, len(rows) - 1))
                total[rows] += self.score(near).cpu().numpy()
        return total / self.rounds


@FINDERS.register("k-dist")
@dataclass(frozen=True, slots=True, kw_only=True)
class KDistance(Density):
    """Distance to the k-th neighbour."""

    def score(self, near: Neighbours) -> torch.Tensor:
        return k_distance(near)


@FINDERS.register("lid")
@dataclass(frozen=True, slots=True, kw_only=True)
class Lid(Density):
    """Local intrinsic dimension."""

    def score(self, near: Neighbours) -> torch.Tensor:
        return lid(near)


@FINDERS.register("slof")
@dataclass(frozen=True, slots=True, kw_only=True)
class Slof(Density):
    """Simplified local outlier factor (Schubert et al. 2014), logarithmic."""

    def score(self, near: Neighbours) -> torch.Tensor:
        return log_slof(near)


@FINDERS.register("dao")
@dataclass(frozen=True, slots=True, kw_only=True)
class Dao(Density):
    """Dimension-aware outlier score, logarithmic."""

    def score(self, near: Neighbours) -> torch.Tensor:
        return log_dao(near)
