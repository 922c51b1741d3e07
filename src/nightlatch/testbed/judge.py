"""Stage "judge": a separate classifier of object, style and background; never used in training or repair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from nightlatch.testbed import compose
from nightlatch.testbed.emoji import OBJECTS, STYLES
from nightlatch.testbed.training import Progress, Resumable, to_float

WIDTHS = (32, 64, 128)


class Judge(nn.Module):
    """Three strided convolution blocks and three linear heads, 0.4 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for a, b in zip((3, *WIDTHS), WIDTHS, strict=False):
            blocks += [
                nn.Conv2d(a, b, 3, 2, 1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Conv2d(b, b, 3, 1, 1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(
            *blocks, nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTHS[-1] * 16, 128), nn.ReLU()
        )
        self.heads = nn.ModuleList(
            nn.Linear(128, n) for n in (len(OBJECTS), len(STYLES), len(compose.BACKGROUNDS))
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """``x`` (n, 3, 32, 32) in -1..1 -> logits of object, style and background."""
        z = self.body(x)
        return [head(z) for head in self.heads]

    @torch.no_grad()
    def verdicts(self, images: npt.NDArray[np.uint8], batch: int = 256) -> npt.NDArray[np.int64]:
        """(n, 32, 32, 3) uint8 -> (n, 3) indices of object, style, background."""
        self.eval()
        chunks = [self(to_float(images[i : i + batch])) for i in range(0, len(images), batch)]
        return np.concatenate([torch.stack([h.argmax(1) for h in heads], 1).numpy() for heads in chunks])

    def read(self, images: npt.NDArray[np.uint8]) -> list[dict[str, str]]:
        """The words for what each picture shows."""
        names = (OBJECTS, STYLES, tuple(compose.BACKGROUNDS))
        slots = ("object", "style", "background")
        return [
            {slot: name[int(k)] for slot, name, k in zip(slots, names, row, strict=True)}
            for row in self.verdicts(images)
        ]


def train(
    state: Resumable, pictures: compose.Pictures, vae: AutoencoderKL, steps: int, batch: int, lr: float
) -> Iterator[Progress]:
    """Train in place on renders, a third of them passed through the autoencoder (what it will judge went
    through it too).
    """
    model = state.model
    assert isinstance(model, Judge)
    scenes = torch.from_numpy(pictures.scenes)
    for step, rng in state.steps(steps, lr, warm=50):
        model.train()
        i = rng.choice(len(pictures.images), batch, replace=False)
        x = to_float(pictures.images[i])
        with torch.no_grad():
            third = batch // 3
            x[:third] = vae.decode(vae.encode(x[:third]).latent_dist.sample()).sample.clamp(-1, 1)
        x = (x + 0.05 * torch.randn_like(x) * torch.rand(batch, 1, 1, 1)).clamp(-1, 1)
        loss = sum(
            (F.cross_entropy(h, scenes[i, k], label_smoothing=0.05) for k, h in enumerate(model(x))),
            torch.zeros(()),
        )
        state.descend(loss)
        yield Progress(step, steps, {"loss": float(loss.detach())})
