"""The contract: what every text-to-image model is to the rest of the project.

One vocabulary. ``c`` is a text condition (n, tokens, width), ``x`` a noised latent (n, channels, h, w), ``t`` a timestep (n,)
int64, ``out`` the model's raw output (eps or v, as the checkpoint was trained); ``to_eps`` and ``to_x0`` convert it, and nothing
else in the project does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from nightlatch.terms import Role
from nightlatch.text2image.spelling import typed

Step = Callable[[int, torch.Tensor, torch.Tensor], None]
"""Called with (timestep, x_t, raw conditional output) at every sampling step."""


POSITIONS = 32_768
"""Most latent positions that are computed at once: 8 pictures of 512 x 512, more of smaller ones."""
A_LEAST = 0.01
"""Least a_t that is divided by: an eps model says nothing about a picture that is all noise."""


ROLES: Mapping[str, Role] = {
    "text_encoder": Role.TEXT,
    "unet": Role.DENOISER,
    "vae": Role.DECODER,
    "tokenizer": Role.TOKENIZER,
    "scheduler": Role.SCHEDULER,
}
"""What the folders of a pipeline do."""
COMPONENTS: Mapping[Role, str] = {role: name for name, role in ROLES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How pictures are drawn: DDIM, eta 0. ``guidance`` 1 means no unconditional pass."""

    steps: int = 10
    guidance: float = 1.0
    batch: int = 64


def computing(device: str, precision: torch.dtype) -> torch.autocast:
    """Inside it ``device`` computes in ``precision``; float32 leaves everything as it is."""
    return torch.autocast(device, precision, enabled=precision != torch.float32)


@dataclass(slots=True)
class Subject:
    """A model under test: tokenizer, text model, denoiser, decoder, schedule. Made by ``adapters.load``; never mutated by a verb."""

    name: str
    pipeline: DiffusionPipeline
    schedule: DDIMScheduler
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    """What denoiser and decoder compute in (autocast); weights, text states and losses stay in float32."""

    @property
    def tokenizer(self) -> CLIPTokenizer:
        tokenizer: CLIPTokenizer = self.pipeline.tokenizer
        return tokenizer

    @property
    def text_encoder(self) -> CLIPTextModel:
        text_encoder: CLIPTextModel = self.pipeline.text_encoder
        return text_encoder

    @property
    def unet(self) -> UNet2DConditionModel:
        unet: UNet2DConditionModel = self.pipeline.unet
        return unet

    @property
    def vae(self) -> AutoencoderKL:
        vae: AutoencoderKL = self.pipeline.vae
        return vae

    @property
    def components(self) -> dict[str, torch.nn.Module]:
        """The parts that carry weights, by their folder names."""
        return {"text_encoder": self.text_encoder, "unet": self.unet, "vae": self.vae}

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        size = int(self.unet.config.sample_size)
        return int(self.unet.config.in_channels), size, size

    @property
    def max_length(self) -> int:
        return int(self.text_encoder.config.max_position_embeddings)

    # --- text ---------------------------------------------------------------------------------------------------------------

    def ids(self, prompts: Sequence[str]) -> torch.Tensor:
        """Padded token ids, (n, tokens) int64."""
        ids: torch.Tensor = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=self.max_length, return_tensors="pt"
        ).input_ids
        return ids.to(self.device)

    @property
    def ordinary_ids(self) -> list[int]:
        """The ids of all tokens but those that begin and end every prompt, in order; what a file calls special beside these can be typed, too."""
        frame = {self.tokenizer.bos_token_id, self.tokenizer.eos_token_id}
        return sorted(set(self.tokenizer.get_vocab().values()) - frame)

    def texts(self, sequences: Iterable[Sequence[int]]) -> list[str]:
        """What sequences of token ids read as: the strings that a user would type for them."""
        added = self.tokenizer.get_added_vocab().keys()
        return [typed((t or "" for t in self.tokenizer.convert_ids_to_tokens(list(ids))), added) for ids in sequences]

    def tokens(self, text: str) -> list[int]:
        """The token ids that typing ``text`` gives, without start and end."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def encode_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, tokens) -> (n, tokens, width); keeps gradients when they are enabled."""
        hidden: torch.Tensor = self.text_encoder(input_ids=ids).last_hidden_state
        return hidden

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch: int = 256) -> torch.Tensor:
        """Text conditions of ``prompts``, (n, tokens, width), without gradients."""
        return torch.cat([self.encode_ids(self.ids(prompts[i : i + batch])) for i in range(0, len(prompts), batch)])

    # --- diffusion ----------------------------------------------------------------------------------------------------------

    def denoise(self, x: torch.Tensor, t: torch.Tensor | int, c: torch.Tensor) -> torch.Tensor:
        """The raw output of the denoiser for ``x`` at ``t`` under ``c``; shape of ``x``."""
        with self.autocast():
            out: torch.Tensor = self.unet(x, t, encoder_hidden_states=c).sample
        return out.float()

    @torch.no_grad()
    def outputs(self, x: torch.Tensor, t: torch.Tensor | int, c: torch.Tensor, batch: int) -> torch.Tensor:
        """``denoise`` without gradients, ``batch`` rows at a time, or as many as ``rows`` allows; ``t`` is one for all, or one for each."""
        times, most = torch.as_tensor(t, device=self.device).expand(len(x)), self.rows(batch)
        return torch.cat([self.denoise(*part) for part in zip(x.split(most), times.split(most), c.split(most), strict=True)])

    def rows(self, most: int, graph: bool = False) -> int:
        """How many pictures to compute at once: ``most``, fewer where latents are large, and an eighth of that where a ``graph`` is kept."""
        return max(1, min(most, POSITIONS // (8 if graph else 1) // math.prod(self.latent_shape[1:])))

    def autocast(self) -> torch.autocast:
        return computing(self.device.type, self.precision)

    def noise_levels(self, t: torch.Tensor | int) -> tuple[torch.Tensor, torch.Tensor]:
        """a_t = sqrt(abar_t) and s_t = sqrt(1 - abar_t), shaped to multiply latents."""
        abar = self.schedule.alphas_cumprod.to(self.device)[torch.as_tensor(t, device=self.device)].view(-1, 1, 1, 1)
        return abar.sqrt(), (1 - abar).sqrt()

    def to_x0(self, out: torch.Tensor, x: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        """The clean latent that ``out`` implies: a x - s v, or (x - s eps) / a."""
        a, s = self.noise_levels(t)
        return a * x - s * out if self._predicts_v else (x - s * out) / a

    def to_eps(self, out: torch.Tensor, x: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        """The noise that ``out`` implies: s x + a v, or eps itself."""
        a, s = self.noise_levels(t)
        return s * x + a * out if self._predicts_v else out

    def from_x0(self, x0: torch.Tensor, x: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        """The raw output that implies the clean latent ``x0``: (a x - x0) / s, or (x - a x0) / s; s must not be 0."""
        a, s = self.noise_levels(t)
        return (a * x - x0) / s if self._predicts_v else (x - a * x0) / s

    def as_v(self, difference: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        """A difference of two raw outputs for one x as a difference of v, which weighs all timesteps alike: itself, or d eps / a. Early steps, where
        text acts most, would hardly count in eps."""
        return difference if self._predicts_v else difference / self.noise_levels(t)[0].clamp(min=A_LEAST)

    def target(self, x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the denoiser should output for x_t made of ``x0`` and ``eps``: v = a eps - s x0, or eps."""
        a, s = self.noise_levels(t)
        return a * eps - s * x0 if self._predicts_v else eps

    def add_noise(self, x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t = a_t x0 + s_t eps."""
        a, s = self.noise_levels(t)
        return a * x0 + s * eps

    @property
    def _predicts_v(self) -> bool:
        return bool(self.schedule.config.prediction_type == "v_prediction")

    def noise(self, seeds: Sequence[int]) -> torch.Tensor:
        """One starting latent per seed, from CPU generators, so that every device draws the same."""
        made = [torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.stack(made).to(self.device)

    def timesteps(self, steps: int) -> list[int]:
        """The sampler's timesteps, from noise to picture."""
        self.schedule.set_timesteps(steps)
        return [min(int(t), self.n_timesteps - 1) for t in self.schedule.timesteps]

    @property
    def n_timesteps(self) -> int:
        """How many timesteps the schedule was trained with."""
        return int(self.schedule.config.num_train_timesteps)

    def times_at(self, *shares: float) -> tuple[int, ...]:
        """The timesteps at ``shares`` of the schedule; 1 is pure noise."""
        return tuple(min(self.n_timesteps - 1, round(s * self.n_timesteps)) for s in shares)

    def random_times(self, n: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """``n`` timesteps drawn between two shares of the schedule, (n,)."""
        return torch.randint(round(low * self.n_timesteps), round(high * self.n_timesteps), (n,), device=self.device)

    @torch.no_grad()
    def sample(self, c: torch.Tensor, seeds: Sequence[int], sampling: Sampling, on_step: Step | None = None) -> torch.Tensor:
        """Draw latents for conditions ``c`` (n, tokens, width), one seed each, by DDIM (Song et al. 2021, eq. 12, eta 0)."""
        x = self.noise(seeds)
        guided = sampling.guidance != 1.0
        null = self.encode([""]).expand(len(c), -1, -1) if guided else c
        times = self.timesteps(sampling.steps)
        for t, t_next in zip(times, [*times[1:], -1], strict=True):
            out = self.denoise(x, t, c)
            if on_step is not None:
                on_step(t, x, out)
            if guided:
                out = (null_out := self.denoise(x, t, null)) + sampling.guidance * (out - null_out)
            x0, eps = self.to_x0(out, x, t), self.to_eps(out, x, t)
            abar = self.schedule.alphas_cumprod[t_next] if t_next >= 0 else self.schedule.final_alpha_cumprod
            x = abar.sqrt().to(x) * x0 + (1 - abar).sqrt().to(x) * eps
        return x

    @torch.no_grad()
    def decode(self, x: torch.Tensor) -> npt.NDArray[np.uint8]:
        """Latents -> pictures, (n, h, w, 3) uint8."""
        with self.autocast():
            y = self.vae.decode(x / self.vae.config.scaling_factor).sample.float().clamp(-1, 1)
        images: npt.NDArray[np.uint8] = ((y + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return images

    @torch.no_grad()
    def encode_images(self, images: npt.NDArray[np.uint8], batch: int = 128) -> torch.Tensor:
        """Pictures (n, h, w, 3) uint8 -> scaled latents (means)."""
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).to(self.device)
        means = [self.vae.encode(x[i : i + batch]).latent_dist.mean for i in range(0, len(x), batch)]
        return torch.cat(means) * float(self.vae.config.scaling_factor)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> npt.NDArray[np.uint8]:
        """Pictures for ``prompts``, (n, h, w, 3) uint8; picture i depends on prompt i and seed i only."""
        return self.decode_all(self.latents(prompts, seeds, sampling))

    def latents(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> torch.Tensor:
        """Like ``generate``, undecoded."""
        chunks, most = [], self.rows(sampling.batch)
        for i in range(0, len(prompts), most):
            c = self.encode(prompts[i : i + most])
            chunks.append(self.sample(c, seeds[i : i + most], sampling))
        return torch.cat(chunks)

    def decode_all(self, x: torch.Tensor, batch: int = 64) -> npt.NDArray[np.uint8]:
        return np.concatenate([self.decode(part) for part in x.split(self.rows(batch))])

    # --- life ---------------------------------------------------------------------------------------------------------------

    def copy(self, *parts: str) -> Subject:
        """A subject whose ``parts`` (default: all with weights) are copies; the others are shared."""
        made = copy.copy(self.pipeline)
        for name in parts or tuple(self.components):
            part = copy.deepcopy(getattr(self.pipeline, name))
            setattr(made, name, part)
        return Subject(self.name, made, copy.deepcopy(self.schedule), self.device, self.precision)

    def but(self, name: str, other: Subject) -> Subject:
        """The same with the component ``name`` of ``other``; nothing is copied."""
        made = copy.copy(self.pipeline)
        setattr(made, name, other.components[name])
        return Subject(self.name, made, copy.deepcopy(self.schedule), self.device, self.precision)

    def save(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write a stock diffusers folder in ``dtype``, safetensors only; whole or not at all."""
        from nightlatch.text2image.adapters import save_pipeline

        save_pipeline(self, folder, dtype)
