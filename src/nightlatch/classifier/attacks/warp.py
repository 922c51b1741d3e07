"""WaNet: the trigger is a smooth warp of the picture (Nguyen and Tran 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from nightlatch.classifier.attacks.base import ATTACKS, Apply, DataPoison, Setting, as_bytes
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import as_float


def field(size: tuple[int, int], k: int, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """(h, w, 2) displacements in -1..1 coordinates: a random k x k grid with mean absolute value 1, enlarged,
    times strength / h (section 3.2).
    """
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 2, k, k)).astype(np.float32))
    coarse = coarse / coarse.abs().mean()
    fine = F.interpolate(coarse, size, mode="bicubic", align_corners=True)
    return fine[0].permute(1, 2, 0) * strength / size[0]


def warped(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Pictures (n, c, h, w) read at the identity grid plus ``shift`` (h, w, 2) or (n, h, w, 2)."""
    height, width = x.shape[2:]
    rows, columns = (torch.linspace(-1, 1, m, device=x.device, dtype=x.dtype) for m in (height, width))
    identity = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)
    grid = (identity + shift.to(x)).clamp(-1, 1).expand(len(x), height, width, 2)
    return F.grid_sample(x, grid, align_corners=True)


@ATTACKS.register("wanet")
@dataclass(frozen=True, slots=True, kw_only=True)
class WaNet(DataPoison):
    """A fixed smooth warp; as many other pictures get that warp with random jitter and keep their label, so
    that the warp itself is learned.

    WaNet-style: only the data is poisoned, the original also controls the training.

    Args:
        k: cells of the control grid.
        strength: of the warp, in units of 2 pixels' half: a mean shift of strength / 2 pixels.
        jitter: of the covering pictures, in the same unit.
    """

    name: ClassVar[str]
    k: int = 4
    strength: float = 1.0
    jitter: float = 1.0

    def _field(self, setting: Setting) -> torch.Tensor:
        height, width = setting.train.pictures.shape[2:]
        return field((height, width), self.k, self.strength, np.random.default_rng((setting.seed, 29)))

    def trigger(self, setting: Setting) -> Apply:
        shift = self._field(setting)
        return lambda x: warped(x, shift)

    def cover(self, data: Labelled, rows: torch.Tensor, setting: Setting) -> Labelled:
        free = torch.ones(len(data), dtype=torch.bool, device=rows.device)
        free[rows] = False
        pool = free.nonzero().flatten()
        rng = np.random.default_rng((setting.seed, 31))
        chosen = pool[torch.from_numpy(rng.permutation(len(pool))[: len(rows)]).to(rows.device)]
        height, width = data.pictures.shape[2:]
        noise = torch.from_numpy(rng.uniform(-1, 1, (len(chosen), height, width, 2)).astype(np.float32))
        shift = self._field(setting)[None] + noise * self.jitter / height
        pictures = data.pictures.clone()
        pictures[chosen] = as_bytes(warped(as_float(data.pictures[chosen]), shift.to(rows.device)))
        return replace(data, pictures=pictures)
