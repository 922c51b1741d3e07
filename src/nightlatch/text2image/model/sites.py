"""Where text enters a denoiser, whatever it is called there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
import torch.nn.functional as F

Trainable = Literal["readers", "cross-attention", "all"]
"""Weights of a denoiser: the matrices that act on text states, the layers that hold them, or everything."""


@dataclass(slots=True, eq=False)
class Maps:
    """Attention from picture to text, by layer, attached to the graph.

    Args:
        weights: layer -> probabilities (n, heads, positions, tokens).
        grids: layer -> (h, w) with h * w positions, row by row.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)

    def each(self, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Maps:
        """``change`` (layer, probabilities) applied to every layer."""
        return Maps({name: change(name, a) for name, a in self.weights.items()}, self.grids)

    def spatial(self, where: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Where the tokens marked in ``where`` (n, tokens) are looked at: mean over layers and heads, (n,
        *size).
        """
        scaled = []
        for name, a in self.weights.items():
            grid = (a * where[:, None, None]).sum(-1).mean(1).unflatten(1, self.grids[name])[:, None]
            scaled.append(F.interpolate(grid, size=size, mode="bilinear", align_corners=False))
        return torch.cat(scaled, 1).mean(1)


class Sites(Protocol):
    """The places in one denoiser."""

    def readers(self) -> Mapping[str, torch.Tensor]:
        """Matrices (out, width) that act on text states directly: keys and values of cross-attention, context
        embedders.
        """

    def maps(self) -> AbstractContextManager[Maps]:
        """Inside it every pass leaves its attention maps; they cost memory."""

    def middle(self) -> AbstractContextManager[Callable[[Callable[[], torch.Tensor]], torch.Tensor]]:
        """Inside it what it yields gives, of a forward pass, what the denoiser's middle makes; the pass goes no
        further. A denoiser without a middle is run whole.
        """

    def checkpointed(self) -> AbstractContextManager[None]:
        """Inside it a pass with gradients keeps the inputs of its blocks alone, which compute the rest again on
        the way back: less memory, about a third more time.
        """

    def linears(self, which: Trainable) -> Sequence[torch.nn.Linear]:
        """The linear layers of that set."""

    def trainable(self, which: Trainable) -> Iterator[torch.nn.Parameter]:
        """The parameters of that set."""
