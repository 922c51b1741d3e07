"""Other views of pictures: crop, flip, colour, blur, cut-out; per picture, on the device, differentiable in
the pixels.

Stands in for AutoAugment, which CleanCLIP uses (Goel et al. 2023, section 4): random resized crops and colour
changes as in SimCLR (Chen et al. 2020, appendix A), with strengths for small pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How far another view may be from its picture.

    Args:
        smallest: least share of a side that a crop keeps.
        turn: largest rotation, radians.
        mirror: share of pictures that are mirrored; 0 where captions say left and right.
        colour: largest relative change of brightness, contrast and saturation.
        grey: share of pictures without colour.
        blur: share of pictures that are blurred.
        cut: side of a square that is replaced by the picture's mean, as a share; 0 for none.
    """

    smallest: float = 0.6
    turn: float = 0.26
    mirror: float = 0.5
    colour: float = 0.4
    grey: float = 0.1
    blur: float = 0.3
    cut: float = 0.4

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One other view of each of ``x`` (n, 3, h, w) in 0..1; same shape."""
        x = self.moved(x, generator)
        x = self.coloured(x, generator)
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        x = torch.where(self._some(self.blur, x, generator), soft, x)
        return self.cut_out(x, generator) if self.cut else x

    def moved(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Cropped, stretched, turned and some of them mirrored, by one bilinear sampling."""
        n = len(x)
        u = torch.rand(n, 5, generator=generator, device=x.device)
        kept = self.smallest + (1 - self.smallest) * u[:, 0]
        angle = (2 * u[:, 1] - 1) * self.turn
        flip = torch.where(u[:, 2] < self.mirror, -1.0, 1.0)
        shift = (2 * u[:, 3:5] - 1) * (1 - kept)[:, None]
        c, s = angle.cos() * kept, angle.sin() * kept
        rows = torch.stack(
            [torch.stack([c * flip, -s, shift[:, 0]], 1), torch.stack([s * flip, c, shift[:, 1]], 1)], 1
        )
        grid = F.affine_grid(rows, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def coloured(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Brightness, contrast and saturation changed by independent factors; some without colour."""
        u = 1 + self.colour * (2 * torch.rand(len(x), 3, 1, 1, 1, generator=generator, device=x.device) - 1)
        x = x * u[:, 0]
        x = x.mean((1, 2, 3), keepdim=True) * (1 - u[:, 1]) + x * u[:, 1]
        grey = x.mean(1, keepdim=True)
        colour = torch.where(self._some(self.grey, x, generator), torch.zeros_like(u[:, 2]), u[:, 2])
        return (grey * (1 - colour) + x * colour).clamp(0, 1)

    def cut_out(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A square at a random place gives way to the picture's mean (DeVries and Taylor 2017)."""
        n, _, h, w = x.shape
        centre = torch.rand(n, 2, 1, 1, generator=generator, device=x.device)
        rows = (torch.arange(h, device=x.device).view(1, h, 1) + 0.5) / h
        columns = (torch.arange(w, device=x.device).view(1, 1, w) + 0.5) / w
        inside = ((rows - centre[:, 0]).abs() < self.cut / 2) & (
            (columns - centre[:, 1]).abs() < self.cut / 2
        )
        return torch.where(inside[:, None], x.mean((2, 3), keepdim=True), x)

    def _some(self, share: float, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < share
