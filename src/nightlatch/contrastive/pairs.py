"""Image-caption pairs in memory: pictures decoded once to uint8, captions, and the names they had in their
source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pictures and what is said of them.

    Args:
        images: (n, 3, size, size) uint8.
        captions: one each.
        names: what each is called in its source; its number where there is no source.
        broken: items that could not be read, one sentence each.
    """

    images: torch.Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...] = ()
    broken: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.captions) or self.images.dtype != torch.uint8:
            raise ValueError(
                f"{len(self.images)} pictures of {self.images.dtype}, {len(self.captions)} captions"
            )
        if not self.names:
            object.__setattr__(self, "names", tuple(str(i) for i in range(len(self.captions))))

    def __len__(self) -> int:
        return len(self.captions)

    def at(self, rows: Iterable[int] | npt.NDArray[np.int64]) -> Pairs:
        """The pairs of these rows, in this order."""
        index = [int(i) for i in rows]
        where = torch.tensor(index, dtype=torch.long, device=self.images.device)
        return Pairs(
            images=self.images[where],
            captions=tuple(self.captions[i] for i in index),
            names=tuple(self.names[i] for i in index),
        )

    def to(self, device: torch.device | str) -> Pairs:
        """The same with the pictures on ``device``."""
        return Pairs(
            images=self.images.to(device), captions=self.captions, names=self.names, broken=self.broken
        )

    def split(self, share: float, seed: int) -> tuple[Pairs, Pairs]:
        """(a random ``share``, the rest); at least one pair in each.

        Raises:
            UsageError: fewer than two pairs.
        """
        if len(self) < 2:
            raise UsageError(
                f"There are {len(self)} readable pairs.", "At least two are needed to keep some apart."
            )
        order = np.random.default_rng((seed, 3)).permutation(len(self))
        cut = min(len(self) - 1, max(1, round(share * len(self))))
        return self.at(order[:cut]), self.at(order[cut:])

    def batches(self, size: int) -> Iterator[Pairs]:
        """In order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.at(range(start, min(start + size, len(self))))


def join(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of ``parts`` in order."""
    return Pairs(
        images=torch.cat([p.images for p in parts]),
        captions=tuple(c for p in parts for c in p.captions),
        names=tuple(n for p in parts for n in p.names),
        broken=tuple(b for p in parts for b in p.broken),
    )
