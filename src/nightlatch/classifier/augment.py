"""Augmentations on whole batches, on the device that holds them: crop, flip, colour, blur, rotation."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def crop(x: torch.Tensor, pad: int) -> torch.Tensor:
    """Every picture of (n, c, h, w) shifted by up to ``pad`` pixels in both directions, its edge mirrored."""
    n, _, height, width = x.shape
    padded = F.pad(x, (pad,) * 4, mode="reflect")
    down, right = (torch.randint(0, 2 * pad + 1, (n, 1, 1), device=x.device) for _ in range(2))
    rows = down + torch.arange(height, device=x.device).view(1, -1, 1)
    columns = right + torch.arange(width, device=x.device).view(1, 1, -1)
    which = torch.arange(n, device=x.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 3, 1, 2)


def flip(x: torch.Tensor) -> torch.Tensor:
    """Half of the pictures mirrored."""
    return torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)


def usual(x: torch.Tensor, pad: int, mirror: bool) -> torch.Tensor:
    """What classifiers of small pictures are trained with: shifted crops and, where a mirror image is one of
    the same class, flips.
    """
    x = crop(x, pad) if pad else x
    return flip(x) if mirror else x


def colour(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Brightness, contrast and saturation of each picture in 0..1 changed by up to ``strength``."""

    def factor() -> torch.Tensor:
        return 1 + strength * (2 * torch.rand(len(x), 1, 1, 1, device=x.device) - 1)

    x = x * factor()
    centre = x.mean((1, 2, 3), keepdim=True)
    x = centre + (x - centre) * factor()
    grey = x.mean(1, keepdim=True)
    return (grey + (x - grey) * factor()).clamp(0, 1)


def blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (n, c, h, w) with standard deviation ``sigma`` in pixels; 0 changes nothing."""
    if sigma <= 0:
        return x
    reach = max(1, math.ceil(3 * sigma))
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    down, across = kernel.view(1, 1, -1, 1), kernel.view(1, 1, 1, -1)
    x = F.conv2d(
        F.pad(x, (0, 0, reach, reach), mode="replicate"), down.repeat(channels, 1, 1, 1), groups=channels
    )
    return F.conv2d(
        F.pad(x, (reach, reach, 0, 0), mode="replicate"), across.repeat(channels, 1, 1, 1), groups=channels
    )


def rotate(x: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Each picture turned by its number of ``degrees`` (n,), its edge repeated."""
    angle = degrees.to(x) * math.pi / 180
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    theta = torch.stack([torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def heavy(x: torch.Tensor) -> torch.Tensor:
    """Shift, turn by up to 20 degrees, colour by up to 0.5, blur by up to one pixel, and one square of a
    quarter's side blanked out: the control that variations of a diffusion model are held against."""
    n, _, height, width = x.shape
    x = crop(x, max(1, height // 8))
    x = rotate(x, 40 * torch.rand(n, device=x.device) - 20)
    x = blur(colour(x, 0.5), float(torch.rand(())))
    side = max(1, height // 4)
    top, left = (torch.randint(0, m - side + 1, (n, 1, 1, 1), device=x.device) for m in (height, width))
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return torch.where(inside, torch.full_like(x, 0.5), x)
