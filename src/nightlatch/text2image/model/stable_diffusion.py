"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a U-Net with cross-attention, a VAE."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from nightlatch.diffusion.schedule import Discrete, Schedule
from nightlatch.terms import Role
from nightlatch.text2image.model.clip import ClipVocabulary
from nightlatch.text2image.model.condition import Condition
from nightlatch.text2image.model.saving import save_pipeline
from nightlatch.text2image.model.subject import Accessory, Images, Part, Sampling, Subject, batches
from nightlatch.text2image.model.unet import UNetSites
from nightlatch.text2image.model.vocabulary import Ids

ROLES = {"text_encoder": Role.TEXT, "unet": Role.DENOISER, "vae": Role.DECODER}
ACCESSORIES = {"tokenizer": Role.TOKENIZER, "scheduler": Role.SCHEDULER}
ACTING: Mapping[str, tuple[str, ...]] = {
    "unet": (
        "act_fn", "addition_embed_type", "addition_embed_type_num_heads", "attention_head_dim",
        "attention_type",
        "center_input_sample", "class_embed_type", "class_embeddings_concat", "cross_attention_norm",
        "downsample_padding",
        "dual_cross_attention", "encoder_hid_dim_type", "flip_sin_to_cos", "freq_shift",
        "mid_block_only_cross_attention",
        "mid_block_scale_factor", "norm_eps", "norm_num_groups", "num_attention_heads",
        "only_cross_attention",
        "resnet_out_scale_factor", "resnet_skip_time_act", "resnet_time_scale_shift", "sample_size",
        "time_cond_proj_dim",
        "time_embedding_act_fn", "time_embedding_type", "timestep_post_act",
    ),
    "vae": (
        "act_fn", "latents_mean", "latents_std", "mid_block_add_attention", "norm_num_groups",
        "scaling_factor", "shift_factor",
        "use_post_quant_conv", "use_quant_conv",
    ),
    "text_encoder": ("hidden_act", "layer_norm_eps", "num_attention_heads", "num_hidden_layers", "use_attention_mask"),
}  # fmt: skip
"""Settings that change what a component does with the same weights, or with the first of them.

Precision (upcast_attention, force_upcast), dropout and the text encoder's token ids, by which only its pooled
output is taken, are none of them.
"""


class StableDiffusion(Subject):
    """A ``StableDiffusionPipeline`` in memory: parts in evaluation mode, float32, without gradients.

    Args:
        name: what people call it.
        pipeline: a stock pipeline of its own; nobody else changes its parts.
        device: where it computes; the pipeline is there already.
        precision: what denoiser and decoder compute in.
        schedule: by default that of the pipeline's scheduler.
    """

    def __init__(
        self,
        name: str,
        pipeline: DiffusionPipeline,
        device: torch.device,
        precision: torch.dtype = torch.float32,
        schedule: Schedule | None = None,
    ) -> None:
        self.name, self.pipeline, self.device, self.precision = name, pipeline, device, precision
        self.schedule = schedule or schedule_of(pipeline.scheduler.config, device)

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        return {name: Part(getattr(self.pipeline, name), role) for name, role in ROLES.items()}

    @cached_property
    def accessories(self) -> Mapping[str, Accessory]:
        return {name: Accessory(getattr(self.pipeline, name), role) for name, role in ACCESSORIES.items()}

    @cached_property
    def vocabulary(self) -> ClipVocabulary:
        rows = self._text_encoder.get_input_embeddings().num_embeddings
        return ClipVocabulary(
            self.pipeline.tokenizer, int(self._text_encoder.config.max_position_embeddings), rows
        )

    @cached_property
    def sites(self) -> UNetSites:
        return UNetSites(self._unet)

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        configs = {name: getattr(self.pipeline, name).config for name in ACTING}
        acting = {
            name: {key: getattr(configs[name], key, None) for key in keys} for name, keys in ACTING.items()
        }
        scheduler = {k: v for k, v in self.pipeline.scheduler.config.items() if not k.startswith("_")}
        return {**acting, "scheduler": {**scheduler, "class": type(self.pipeline.scheduler).__name__}}

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        size = int(self._unet.config.sample_size)
        return int(self._unet.config.in_channels), size, size

    def condition(self, ids: Ids) -> Condition:
        return Condition(self._text_encoder(input_ids=ids[0]).last_hidden_state)

    def denoise(self, x: torch.Tensor, t: torch.Tensor | float, c: Condition) -> torch.Tensor:
        with self.autocast():
            out: torch.Tensor = self._unet(
                x, torch.as_tensor(t).long(), encoder_hidden_states=c.states
            ).sample
        return out.float()

    @torch.no_grad()
    def decode(self, x: torch.Tensor) -> Images:
        with self.autocast():
            y = self._vae.decode(x / self._vae.config.scaling_factor).sample.float().clamp(-1, 1)
        images: Images = ((y + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return images

    def stock(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Images:
        settings = {
            "num_inference_steps": sampling.steps,
            "guidance_scale": sampling.guidance,
            "output_type": "np",
        }
        drawn = [
            self.pipeline(list(prompts[rows]), latents=self.noise(seeds[rows]), **settings).images
            for rows in batches(len(prompts), self.rows(sampling.batch))
        ]
        return (np.concatenate(drawn) * 255).round().astype(np.uint8)

    @torch.no_grad()
    def encode_images(self, images: Images, batch: int = 128) -> torch.Tensor:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).to(self.device)
        means = [self._vae.encode(part).latent_dist.mean for part in x.split(batch)]
        return torch.cat(means) * float(self._vae.config.scaling_factor)

    def replaced(self, components: Mapping[str, Any], schedule: Schedule | None = None) -> Self:
        made = copy.copy(self.pipeline)
        for name, component in components.items():
            setattr(made, name, component)
        return type(self)(self.name, made, self.device, self.precision, schedule or self.schedule)

    def save(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        save_pipeline(self.pipeline, self.parts, folder, dtype)

    @property
    def _text_encoder(self) -> CLIPTextModel:
        encoder: CLIPTextModel = self.pipeline.text_encoder
        return encoder

    @property
    def _unet(self) -> UNet2DConditionModel:
        unet: UNet2DConditionModel = self.pipeline.unet
        return unet

    @property
    def _vae(self) -> AutoencoderKL:
        vae: AutoencoderKL = self.pipeline.vae
        return vae


def schedule_of(config: Mapping[str, Any], device: torch.device | str = "cpu") -> Discrete:
    """The noise levels of any scheduler's ``config``, as DDIM reads it: betas and prediction are the same in
    all of them.
    """
    stock = DDIMScheduler.from_config(config)
    return Discrete(
        n=int(stock.config.num_train_timesteps),
        abar=stock.alphas_cumprod.to(device),
        last=float(stock.final_alpha_cumprod),
        predicts=stock.config.prediction_type,
        spacing=stock.config.timestep_spacing,
        offset=int(stock.config.steps_offset),
    )
