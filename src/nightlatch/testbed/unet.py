"""Stage "unet": the denoiser, v-prediction on a zero-terminal-SNR schedule, conditioned on the frozen text
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from nightlatch.testbed import captions, clip
from nightlatch.testbed.training import Progress, Resumable
from nightlatch.text2image.model.precision import computing

LATENT_SIZE, LATENT_CHANNELS = 8, 8
CAPTION_DROPOUT = 0.1


def build(channels: tuple[int, ...] = (96, 160), layers: int = 1) -> UNet2DConditionModel:
    """7.3 M parameters, cross-attention at every level."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=layers,
        block_out_channels=channels,
        cross_attention_dim=clip.WIDTH,
        attention_head_dim=tuple(c // 32 for c in channels),  # diffusers reads this as the number of heads
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
    )


def scheduler(prediction: str = "v_prediction") -> DDIMScheduler:
    """Zero terminal SNR and trailing steps for v (Lin et al. 2024, "Common diffusion noise schedules ... are
    flawed").

    ``epsilon`` cannot be predicted at zero SNR, so that variant keeps Stable Diffusion 1's schedule.
    """
    flawless = prediction == "v_prediction"
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        rescale_betas_zero_snr=flawless,
        timestep_spacing="trailing" if flawless else "leading",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=flawless,
    )


@dataclass(frozen=True, slots=True)
class Latents:
    """``values`` (n, 8, 8, 8) scaled to unit variance, half precision; ``scenes`` (n, 3)."""

    values: torch.Tensor
    scenes: torch.Tensor


def target(noise: DDIMScheduler, x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What the model is asked to output: eps, or v = a_t eps - s_t x0 (Salimans and Ho 2022, appendix D)."""
    return noise.get_velocity(x0, eps, t) if noise.config.prediction_type == "v_prediction" else eps


def train(
    state: Resumable,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    latents: Latents,
    noise: DDIMScheduler,
    rare: Sequence[str],
    steps: int,
    batch: int,
    lr: float,
    precision: torch.dtype = torch.float32,
) -> Iterator[Progress]:
    """Train ``state.model`` in place, computing in ``precision`` (weights and loss in float32); yields after
    every step.
    """
    for step, rng in state.steps(steps, lr, warm=300):
        i = torch.from_numpy(rng.choice(len(latents.values), batch, replace=False))
        written = [captions.write_varied(s.tolist(), rng, rare).text for s in latents.scenes[i]]
        dropped = rng.random(batch) < CAPTION_DROPOUT
        with torch.no_grad():
            c = text(
                clip.tokenize(tokenizer, ["" if d else w for d, w in zip(dropped, written, strict=True)])
            ).last_hidden_state
        x0 = latents.values[i].float()
        eps, t = torch.randn_like(x0), _timesteps(batch)
        with computing("cpu", precision):
            out = state.model(noise.add_noise(x0, eps, t), t, c).sample
        loss = F.mse_loss(out.float(), target(noise, x0, eps, t))
        state.descend(loss)
        yield Progress(step, steps, {"loss": float(loss.detach())})


def _timesteps(n: int) -> torch.Tensor:
    """Stratified over 0..999, so that every batch sees the whole range, and denser where the prompt decides:
    t = 1000 u^0.7.
    """
    u = (torch.arange(n) + torch.rand(n)) / n
    return (1000 * u**0.7).long().clamp(max=999)[torch.randperm(n)]
