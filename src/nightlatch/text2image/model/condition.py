"""What a denoiser is told: the text's states, and whatever else an architecture reads beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch

NOTHING: Mapping[str, torch.Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One row a prompt; rows can be taken, joined, repeated and split.

    Args:
        states: the text's states, (n, tokens, width).
        pooled: one state for the whole text, (n, width), where the architecture has one (SDXL, SD 3, Flux).
        extra: further inputs by name, such as time ids or distilled guidance, (n, ...).
    """

    states: torch.Tensor
    pooled: torch.Tensor | None = None
    extra: Mapping[str, torch.Tensor] = field(default_factory=lambda: NOTHING)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: torch.Tensor | slice | Sequence[int]) -> Condition:
        return self.each(lambda x: x[rows])

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Condition:
        """``change`` applied to every tensor."""
        pooled = None if self.pooled is None else change(self.pooled)
        return Condition(change(self.states), pooled, {name: change(x) for name, x in self.extra.items()})

    def repeated(self, times: int) -> Condition:
        """All rows one after the other, ``times`` times."""
        return self.each(lambda x: x.repeat(times, *[1] * (x.ndim - 1)))

    def expanded(self, n: int) -> Condition:
        """The one row, ``n`` times, without a copy."""
        return self.each(lambda x: x.expand(n, *x.shape[1:]))

    def split(self, most: int) -> Iterator[Condition]:
        """Parts of at most ``most`` rows, in order."""
        for first in range(0, len(self), most):
            yield self[first : first + most]

    def parts(self, n: int) -> list[Condition]:
        """Cut into ``n`` parts as equal as can be; some are empty where there are fewer rows."""
        bounds = [len(self) // n + (i < len(self) % n) for i in range(n)]
        starts = [sum(bounds[:i]) for i in range(n)]
        return [self[first : first + size] for first, size in zip(starts, bounds, strict=True)]

    def with_states(self, states: torch.Tensor) -> Condition:
        """The same with other text states."""
        return Condition(states, self.pooled, self.extra)

    @classmethod
    def joined(cls, several: Sequence[Condition]) -> Condition:
        """All rows of ``several``, in order; all must have the same parts."""
        first = several[0]
        pooled = (
            None if first.pooled is None else torch.cat([c.pooled for c in several if c.pooled is not None])
        )
        extra = {name: torch.cat([c.extra[name] for c in several]) for name in first.extra}
        return cls(torch.cat([c.states for c in several]), pooled, extra)
