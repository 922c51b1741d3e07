"""Low-rank training of linear layers (LoRA, Hu et al. 2022), merged into the weights at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W -> W + B A with A (rank, in) random and B (out, rank) zero, so that training starts at W."""

    def __init__(self, weight: torch.Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        drawn = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.a = nn.Parameter(drawn.to(weight.device))
        self.b = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.b @ self.a).to(weight.dtype)


@contextmanager
def low_rank(layers: Sequence[nn.Linear], rank: int, seed: int) -> Iterator[list[nn.Parameter]]:
    """Inside it the change of each layer's weight has at most that ``rank``; yields what learns. At the end the
    change is merged, and the layers are as plain as before.
    """
    generator = torch.Generator().manual_seed(seed)
    made = [LowRank(layer.weight.detach(), rank, generator) for layer in layers]
    for layer, part in zip(layers, made, strict=True):
        layer.weight.requires_grad_(False)
        parametrize.register_parametrization(layer, "weight", part, unsafe=True)
    try:
        yield [p for part in made for p in part.parameters()]
    finally:
        for layer in layers:
            with torch.no_grad():
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer.weight.requires_grad_(False)
