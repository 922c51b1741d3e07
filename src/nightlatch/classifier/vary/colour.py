"""Colour transfer: a picture gets the mean and the standard deviation that another has in each channel."""

from __future__ import annotations

import torch

FLAT = 1e-4
"""Standard deviation, in 0..1, up to which a channel counts as flat: a fortieth of a grey level."""


def matched(pictures: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """``pictures`` (n, c, h, w) with the per-channel mean and standard deviation of ``to`` (Struppek et al.
    2023, section 3; Reinhard et al. 2001).

    A channel without any spread takes the mean only. Values may leave 0..1.
    """
    mean, wanted = (x.mean((2, 3), keepdim=True) for x in (pictures, to))
    std, spread = (x.std((2, 3), keepdim=True) for x in (pictures, to))
    made: torch.Tensor = (pictures - mean) * torch.where(
        std > FLAT, spread / std.clamp(min=FLAT), 0.0
    ) + wanted
    return made
