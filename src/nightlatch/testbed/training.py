"""What every training stage shares: a resumable optimiser state, its schedule, and progress records."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, slots=True)
class Progress:
    """One training step: ``step`` of ``total`` and the numbers worth watching."""

    step: int
    total: int
    values: dict[str, float]


def to_float(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


class Resumable:
    """A model with AdamW, a warm-up and cosine schedule, an optional running average, and a checkpoint to
    resume from.

    Args:
        model: trained in place.
        path: checkpoint file; written whole or not at all.
        seed: of the sampling of batches.
        average: decay of the running average of weights, 0 for none.
        every: steps between checkpoints.
    """

    def __init__(
        self, model: torch.nn.Module, path: Path, seed: int, average: float = 0.0, every: int = 500
    ) -> None:
        self.model, self.path, self.seed, self.average, self.every = model, path, seed, average, every
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
        self.mean = [p.detach().clone() for p in self.parameters] if average else []
        self.step = 0

    def steps(
        self, total: int, lr: float, warm: int, floor: float = 0.02
    ) -> Iterator[tuple[int, np.random.Generator]]:
        """Yield (step, generator) from where the checkpoint stopped; the generator depends on seed and step
        only.
        """
        self.load()
        while self.step < total:
            t = self.step
            scale = min(1.0, (t + 1) / warm) * (
                floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * t / total))
            )
            for group in self.optimizer.param_groups:
                group["lr"] = lr * scale
            torch.manual_seed(self.seed * 1_000_003 + t)
            yield t, np.random.default_rng((self.seed, t))
            self.step += 1
            if self.step % self.every == 0 or self.step == total:
                self.save()

    def descend(self, loss: torch.Tensor, clip: float = 1.0) -> None:
        """One optimiser step on ``loss`` with gradients clipped to norm ``clip``; updates the running
        average.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        self.optimizer.step()
        if self.average:
            decay = min(self.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], 1 - decay)

    def use_average(self) -> None:
        """Replace the weights by their running average."""
        for p, m in zip(self.parameters, self.mean, strict=True):
            p.data.copy_(m)

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self.mean,
            "step": self.step,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)

    def load(self) -> None:
        if not self.path.is_file():
            return
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean, self.step = state["mean"], state["step"]
