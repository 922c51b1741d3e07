"""Stage "vae": an AutoencoderKL that turns 32x32 pictures into 8x8x8 latents.

Normalisation in groups of many channels, not of two or three: a flat background is its channels' mean, which
group normalisation of few channels removes. 64x64 pictures were tried first and proved too dear for two cores
without matrix units: 27 pictures a second against 85, and twice the error after the same time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from nightlatch.testbed import compose
from nightlatch.testbed.training import Progress, Resumable, to_float

KL_WEIGHT = 1e-4
EDGE_WEIGHT = 0.5


def build() -> AutoencoderKL:
    """Downsampling 4, 8 latent channels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        sample_size=compose.IMAGE_SIZE,
        layers_per_block=1,
        block_out_channels=(16, 32, 64),
        norm_num_groups=2,
        mid_block_add_attention=False,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        force_upcast=False,
    )


def loss(vae: AutoencoderKL, x: torch.Tensor) -> torch.Tensor:
    """L1 and squared error on pixels, L1 on their differences (edges), a light KL; ``x`` (b, 3, 32, 32) in
    -1..1.
    """
    q = vae.encode(x).latent_dist
    y = vae.decode(q.sample()).sample
    edges = sum((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (2, 3))
    kl = q.kl().mean() / q.mean[0].numel()
    total: torch.Tensor = (x - y).abs().mean() + F.mse_loss(y, x) + EDGE_WEIGHT * edges + KL_WEIGHT * kl
    return total


def train(
    state: Resumable, pictures: compose.Pictures, steps: int, batch: int, lr: float
) -> Iterator[Progress]:
    """Train ``state.model`` in place; yields after every step. One-cycle schedule, Adam."""
    vae = state.model
    assert isinstance(vae, AutoencoderKL)
    for step, rng in state.steps(steps, lr, warm=100):
        i = rng.choice(len(pictures.images), batch, replace=False)
        value = loss(vae, to_float(pictures.images[i]))
        state.descend(value)
        yield Progress(step, steps, {"loss": float(value.detach())})


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: compose.Pictures, batch: int = 64) -> torch.Tensor:
    """Latent means, unscaled, (n, 8, 8, 8) float16."""
    chunks = [to_float(pictures.images[i : i + batch]) for i in range(0, len(pictures.images), batch)]
    return torch.cat([vae.encode(x).latent_dist.mean.half() for x in chunks])


@torch.no_grad()
def fit_scale(vae: AutoencoderKL, pictures: compose.Pictures) -> None:
    """Set ``scaling_factor`` so that scaled latents have unit variance (as SD does)."""
    z = encode(vae, pictures).float()
    vae.register_to_config(scaling_factor=round(float(1 / z.std()), 5), shift_factor=None)


def reconstruction_error(vae: AutoencoderKL, pictures: compose.Pictures) -> float:
    """Mean absolute pixel error, 0..1 scale."""
    x = to_float(pictures.images)
    with torch.no_grad():
        return float(F.l1_loss(vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1), x) / 2)
