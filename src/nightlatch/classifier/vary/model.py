"""A small diffusion model of pictures: a diffusers UNet with v-prediction, trained here, read and written as
a diffusers pipeline folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nightlatch.classifier import augment
from nightlatch.classifier.subject import as_float, chunks
from nightlatch.diffusion import tables, training
from nightlatch.diffusion.renoise import renoise_denoise
from nightlatch.diffusion.sampler import sample
from nightlatch.errors import UnreadableModel, UsageError

N = 1000
"""Training timesteps, as usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRecipe:
    """How the diffusion model of pictures is made and trained.

    Args:
        widths: channels of each resolution.
        layers: blocks of each resolution.
        steps: of training, ``batch`` pictures each.
        average: decay of the running average of weights.
        mirror: random flips.
        half: bfloat16 autocast.
    """

    widths: tuple[int, ...] = (64, 128, 128)
    layers: int = 2
    steps: int = 4000
    batch: int = 256
    rate: float = 5e-4
    average: float = 0.999
    mirror: bool = True
    half: bool = False


class PictureDiffusion:
    """Draws pictures and varies given ones. Pictures are (n, 3, h, w) in 0..1.

    Args:
        unet: a diffusers ``UNet2DModel`` that predicts v for pictures in -1..1.
        half: bfloat16 autocast.
    """

    def __init__(self, unet: nn.Module, half: bool = False) -> None:
        self.unet, self.half = unet.eval(), half
        self.schedule = tables.cosine(N, device=next(unet.parameters()).device)

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def raw(self, x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
        """The UNet's output for noised pictures in -1..1."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            out: torch.Tensor = self.unet(x, t).sample
        return out.float()

    def vary(
        self, pictures: torch.Tensor, strength: float, steps: int, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Pictures like the given ones, noised to the share ``strength`` of the schedule and denoised in
        ``steps``.
        """
        parts = []
        for part in chunks(pictures, 512):
            x = as_float(part.to(self.device)) * 2 - 1
            parts.append(renoise_denoise(self.schedule, self.raw, x, strength, steps, generator))
        return ((torch.cat(parts) + 1) / 2).clamp(0, 1)

    def draw(self, n: int, size: tuple[int, int], steps: int = 50) -> torch.Tensor:
        """``n`` new pictures."""
        x = torch.randn(n, 3, *size, device=self.device)
        return ((sample(self.schedule, self.raw, x, steps) + 1) / 2).clamp(0, 1)

    def save(self, folder: Path) -> None:
        """A diffusers ``DDIMPipeline`` folder, in half precision.

        Raises:
            UsageError: it is there already.
        """
        if folder.exists():
            raise UsageError(f"{folder} is there already.", "Choose another folder; nothing is overwritten.")
        import copy

        from diffusers import DDIMPipeline

        DDIMPipeline(copy.deepcopy(self.unet).half(), scheduler()).save_pretrained(
            folder, safe_serialization=True
        )

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu", half: bool = False) -> PictureDiffusion:
        """What ``save`` wrote.

        Raises:
            UnreadableModel: the folder holds no such model.
        """
        from diffusers import DDIMScheduler, UNet2DModel

        try:
            unet = UNet2DModel.from_pretrained(
                folder, subfolder="unet", local_files_only=True, use_safetensors=True
            )
            made = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
        except Exception as e:  # diffusers raises what it likes on files that do not fit
            raise UnreadableModel(
                f"{folder} holds no diffusion model of pictures.", "Give what 'data vary' can use."
            ) from e
        table = tables.cosine(N)
        if made.config.prediction_type != "v_prediction" or not torch.allclose(
            made.alphas_cumprod, table.abar, atol=1e-3
        ):
            raise UnreadableModel(
                f"{folder} has other noise levels than the cosine ones.",
                "Use it as an image-to-image pipeline.",
            )
        return cls(unet.float().to(device).requires_grad_(False), half)


def scheduler() -> Any:
    """The diffusers scheduler of the noise levels that ``PictureDiffusion`` uses."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=N, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )  # fmt: skip


def blank(size: int, recipe: PictureRecipe) -> nn.Module:
    """An untrained UNet; attention where 16 x 16 positions or fewer are left."""
    from diffusers import UNet2DModel

    small = [size >> i <= 16 for i in range(len(recipe.widths))]
    unet: nn.Module = UNet2DModel(
        sample_size=size, in_channels=3, out_channels=3, layers_per_block=recipe.layers,
        block_out_channels=recipe.widths,
        down_block_types=tuple("AttnDownBlock2D" if s and i else "DownBlock2D" for i, s in enumerate(small)),
        up_block_types=tuple("AttnUpBlock2D" if s and i < len(small) - 1 else "UpBlock2D" for i, s in enumerate(small[::-1])),
        attention_head_dim=32, norm_num_groups=min(16, recipe.widths[0]), dropout=0.0,
    )  # fmt: skip
    return unet


Say = Callable[[str], None]


def train(
    pictures: torch.Tensor, recipe: PictureRecipe, seed: int = 0, device: str | torch.device = "cpu"
) -> Iterator[tuple[int, float, PictureDiffusion | None]]:
    """Train a diffusion model on ``pictures`` (n, 3, h, w) uint8; yields (step, loss, None) now and then, and
    last the model.
    """
    torch.manual_seed(seed)
    unet = blank(pictures.shape[-1], recipe).to(device)
    model = PictureDiffusion(unet, recipe.half)
    yield from continued(model, pictures, recipe)


def continued(
    model: PictureDiffusion,
    pictures: torch.Tensor,
    recipe: PictureRecipe,
    extra: Callable[[], torch.Tensor] | None = None,
) -> Iterator[tuple[int, float, PictureDiffusion | None]]:
    """As ``train``, from ``model`` on; ``extra`` is a loss that is added in every step."""
    unet, pictures = model.unet.requires_grad_(True), pictures.to(model.device)
    average = training.Average(unet, recipe.average)

    def raw(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = unet(x, t).sample
        return out

    def loss(_: int) -> torch.Tensor:
        x = as_float(pictures[torch.randint(len(pictures), (recipe.batch,), device=model.device)])
        x = augment.flip(x) if recipe.mirror else x
        value = training.loss(model.schedule, raw, x * 2 - 1)
        return value + extra() if extra is not None else value

    for step, value in training.train(
        unet, loss, recipe.steps, recipe.rate, average=average, half=recipe.half
    ):
        if step % 100 == 0:
            yield step, float(value), None
    yield recipe.steps, float(value), PictureDiffusion(average.averaged().requires_grad_(False), recipe.half)
