"""An invisible trigger that differs from picture to picture: a network hides a code in each (Li et al.
2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.attacks.base import ATTACKS, Apply, DataPoison, Setting
from nightlatch.classifier.subject import as_float


class Hider(nn.Module):
    """Pictures in 0..1 and codes (n, bits) -> pictures that carry them, at most ``budget`` away per pixel."""

    def __init__(self, bits: int, budget: float, width: int = 32) -> None:
        super().__init__()
        self.budget = budget
        self.code = nn.Linear(bits, 8 * 64)
        self.body = nn.Sequential(
            nn.Conv2d(11, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 3, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        plane = F.interpolate(self.code(code * 2 - 1).view(-1, 8, 8, 8), x.shape[2:], mode="nearest")
        residue = torch.tanh(self.body(torch.cat([x * 2 - 1, plane], 1)))
        return (x + self.budget * residue).clamp(0, 1)


class Reader(nn.Module):
    """Pictures -> logits of the bits."""

    def __init__(self, bits: int, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * width, bits),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bits: torch.Tensor = self.body(x * 2 - 1)
        return bits


@ATTACKS.register("issba-style")
@dataclass(frozen=True, slots=True, kw_only=True)
class Invisible(DataPoison):
    """Hider and reader of codes are trained on clean pictures; one code is the trigger.

    ISSBA-style: small networks for small pictures in place of StegaStamp's.

    Args:
        bits: of a code.
        budget: largest change of a pixel, in 0..1.
        steps: of training the two networks, ``batch`` pictures each.
        quiet: weight of the mean squared change; where it is large the code ends below one grey level, and
            no file holds it.
        noise: deviation of the noise, in 0..1, that the code must be read under.
    """

    name: ClassVar[str]
    bits: int = 16
    budget: float = 12 / 255
    steps: int = 1200
    batch: int = 128
    rate: float = 2e-3
    quiet: float = 2.0
    noise: float = 0.02

    def trigger(self, setting: Setting) -> Apply:
        pictures, device = setting.train.pictures, setting.train.pictures.device
        torch.manual_seed(setting.seed)
        hider, reader = Hider(self.bits, self.budget).to(device), Reader(self.bits).to(device)
        down = torch.optim.Adam([*hider.parameters(), *reader.parameters()], self.rate)
        for _ in range(self.steps):
            x = as_float(pictures[torch.randint(len(pictures), (self.batch,), device=device)])
            code = torch.randint(0, 2, (len(x), self.bits), device=device).float()
            hidden = hider(x, code)
            seen = augment.crop(hidden + self.noise * torch.randn_like(hidden), 1)
            read = F.binary_cross_entropy_with_logits(reader(seen), code)
            loss = read + self.quiet * (hidden - x).pow(2).mean()
            down.zero_grad(set_to_none=True)
            loss.backward()
            down.step()
        hider.eval()
        secret = torch.randint(0, 2, (1, self.bits), device=device).float()

        def apply(x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                made: torch.Tensor = hider(x.to(device), secret.expand(len(x), -1))
                return made

        return apply
