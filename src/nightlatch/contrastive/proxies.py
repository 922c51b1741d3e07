"""Stand-ins for an unknown trigger: a patch anywhere, a patch in a place of its own, an added picture, a bending
field. Found by gradients, and bounded, so that only a shortcut lets so little move a picture so far.

The kinds cover what attackers use: something small, something faint everywhere, and geometry.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F

from nightlatch.contrastive.subject import Subject, to_pixels

Aim = Callable[[torch.Tensor], torch.Tensor]
"""Unit embeddings of changed pictures (n, d) -> a scalar to make small."""


class Proxy(abc.ABC):
    """A universal change of pictures with a few free numbers.

    Args:
        size: of the pictures.
        generator: of the start.
    """

    kind: ClassVar[str]

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self.size = size
        self.free = self.start(generator)

    @abc.abstractmethod
    def start(self, generator: torch.Generator) -> torch.Tensor:
        """The free numbers, drawn at random."""

    @abc.abstractmethod
    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Pictures (n, 3, size, size) in 0..1 changed; differentiable in ``free``."""


class PatchProxy(Proxy):
    """A patch at a random place of each picture.

    Args:
        side: as a share of the picture's; a fifth is larger than the patches of the literature (7 to 16 %).
    """

    kind = "patch"

    def __init__(self, size: int, generator: torch.Generator, side: float = 0.2) -> None:
        self.side = max(2, round(side * size))
        super().__init__(size, generator)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(3, self.side, self.side, generator=generator, device=generator.device)

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        n, k, room = len(x), self.side, self.size - self.side
        corner = torch.randint(room + 1, (n, 2), generator=generator, device=x.device)
        step = torch.arange(self.size, device=x.device)
        y, col = step[None] - corner[:, :1], step[None] - corner[:, 1:]
        inside = (((y >= 0) & (y < k))[:, :, None] & ((col >= 0) & (col < k))[:, None])[:, None]
        mark = self.free.sigmoid()[:, y.clamp(0, k - 1)[:, :, None], col.clamp(0, k - 1)[:, None]].transpose(
            0, 1
        )
        return torch.where(inside, mark, x)


class PlacedProxy(Proxy):
    """A mask and a pattern, x' = (1 - m) x + m r: something small in one place that the search chooses, as
    DECREE's patch (Feng et al. 2023).

    Args:
        area: largest mean of m; a fifth of a side squared is 4 %.
    """

    kind = "placed"

    def __init__(self, size: int, generator: torch.Generator, area: float = 0.05) -> None:
        self.area = area
        super().__init__(size, generator)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(4, self.size, self.size, generator=generator, device=generator.device)

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        m = self.free[:1].sigmoid()
        m = m * (self.area / m.mean()).clamp(max=1)
        return (1 - m) * x + m * self.free[1:].sigmoid()


class AddedProxy(Proxy):
    """One picture added to all.

    Args:
        bound: largest change of a pixel; Blended at 0.2 changes it by up to 0.2, SIG by 0.24.
    """

    kind = "added"

    def __init__(self, size: int, generator: torch.Generator, bound: float = 0.2) -> None:
        self.bound = bound
        super().__init__(size, generator)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        return 0.3 * torch.randn(3, self.size, self.size, generator=generator, device=generator.device)

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return (x + self.bound * self.free.tanh()).clamp(0, 1)


class BentProxy(Proxy):
    """One smooth field that bends all.

    Args:
        bound: largest displacement of a control point, in pixels of a 32-pixel picture.
        grid: control points along a side; WaNet's 4 and a finer one lie below it.
    """

    kind = "bent"

    def __init__(self, size: int, generator: torch.Generator, bound: float = 4.0, grid: int = 6) -> None:
        self.bound, self.grid = bound, grid
        super().__init__(size, generator)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        return 0.3 * torch.randn(1, 2, self.grid, self.grid, generator=generator, device=generator.device)

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        line = torch.linspace(-1, 1, self.size, device=x.device)
        still = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        points = self.bound * 2 / 32 * self.free.tanh()
        flow = F.interpolate(points, size=(self.size, self.size), mode="bicubic", align_corners=True)
        grid = (still + flow[0].permute(1, 2, 0)).expand(len(x), -1, -1, -1)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)


KINDS: tuple[type[Proxy], ...] = (PatchProxy, PlacedProxy, AddedProxy, BentProxy)


def invert(
    proxy: Proxy,
    subject: Subject,
    images: torch.Tensor,
    aim: Aim,
    steps: int,
    generator: torch.Generator,
    rate: float = 0.1,
    batch: int = 64,
) -> float:
    """Adam on ``proxy.free`` so that I of changed ``images`` (uint8) minimises ``aim``; returns the last
    value of ``aim``.
    """
    proxy.free.requires_grad_(True)
    optimizer, value = torch.optim.Adam([proxy.free], lr=rate), torch.zeros(())
    for _ in range(steps):
        rows = torch.randint(
            len(images), (min(batch, len(images)),), generator=generator, device=images.device
        )
        value = aim(subject.image(proxy(to_pixels(images[rows]), generator)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    proxy.free.requires_grad_(False)
    return float(value.detach())


def toward(words: torch.Tensor) -> Aim:
    """An aim: similarity with one direction (d,)."""
    return lambda image: -(image @ words).mean()


def collapse(image: torch.Tensor) -> torch.Tensor:
    """An aim: all pictures look alike; minus the mean cosine of two of them (DECREE, Feng et al. 2023,
    equation 3).
    """
    n = len(image)
    return -(image.sum(0).pow(2).sum() - n) / max(1, n * (n - 1))
