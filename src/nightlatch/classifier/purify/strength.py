"""How strongly a picture must be renoised, told from the picture itself (after Ada3Diff, Zhang et al. 2023,
which does so for point clouds).
"""

from __future__ import annotations

import torch

from nightlatch.diffusion.schedule import Discrete


def distortion(pictures: torch.Tensor) -> torch.Tensor:
    """(n,) noise level of pictures in 0..1: median |diagonal Haar coefficient| / 0.6745 (Donoho and Johnstone
    1994).
    """
    a, b = pictures[..., ::2, ::2], pictures[..., ::2, 1::2]
    c, d = pictures[..., 1::2, ::2], pictures[..., 1::2, 1::2]
    height, width = min(a.shape[2], d.shape[2]), min(a.shape[3], d.shape[3])
    diagonal = sum(s * m[..., :height, :width] for s, m in ((0.5, a), (-0.5, b), (-0.5, c), (0.5, d)))
    assert isinstance(diagonal, torch.Tensor)
    return diagonal.abs().flatten(1).median(1).values / 0.6745


def adaptive(
    pictures: torch.Tensor, schedule: Discrete, kappa: float, low: float, high: float
) -> torch.Tensor:
    """(n,) share of the schedule at which s / a = kappa sigma, within ``low`` .. ``high``; sigma is counted
    in -1..1, twice ``distortion``.
    """
    wanted = kappa * 2 * distortion(pictures)
    ratio = ((1 - schedule.abar) / schedule.abar).sqrt()
    return (torch.searchsorted(ratio, wanted.to(ratio)).float() / schedule.n).clamp(low, high)
