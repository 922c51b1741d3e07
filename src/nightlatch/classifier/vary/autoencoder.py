"""A small autoencoder of pictures: the control that has no diffusion in it."""

from __future__ import annotations

import torch
from torch import nn

from nightlatch.diffusion import training


def network(channels: int, width: int = 32) -> nn.Sequential:
    """Down to a quarter of the resolution, ``channels`` wide, and up again."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1), nn.SiLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.SiLU(),
        nn.Conv2d(2 * width, channels, 1), nn.Conv2d(channels, 2 * width, 3, 1, 1), nn.SiLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, 1, 1), nn.SiLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(width, 3, 3, 1, 1), nn.Sigmoid(),
    )  # fmt: skip


def trained(pictures: torch.Tensor, channels: int, steps: int, batch: int) -> nn.Module:
    """The autoencoder after ``steps`` on ``pictures`` in 0..1."""
    net = network(channels).to(pictures.device)

    def loss(_: int) -> torch.Tensor:
        x = pictures[torch.randint(len(pictures), (batch,), device=pictures.device)]
        apart: torch.Tensor = (net(x) - x).pow(2).mean()
        return apart

    for _ in training.train(net, loss, steps, 2e-3):
        pass
    return net


def reconstructed(pictures: torch.Tensor, channels: int, steps: int, batch: int) -> torch.Tensor:
    """``pictures`` as an autoencoder trained on them gives them back."""
    net = trained(pictures, channels, steps, batch)
    with torch.no_grad():
        return torch.cat([net(p) for p in pictures.split(512)])
