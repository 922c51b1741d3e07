"""Honest files, each written by the library that people write such files with, at tiny size; nothing here is
edited by hand.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import build_honest
import diffusers
import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

UNET, VAE = build_honest.UNET, build_honest.VAE
UNSUPPORTED = frozenset({"unsupported-pipeline", "unsupported-layout", "unsupported-option", "adapter-kind"})
WRITERS: dict[str, tuple[Callable[[Path, Any], Path], int, str]] = {}
"""Name to what writes it, the exit code of a check, and words that name it."""


class Parts:
    """One tiny Stable Diffusion, made once and saved in the folder ``saved``; everything is written from
    copies of its parts.
    """

    def __init__(self, saved: Path) -> None:
        torch.manual_seed(0)
        self.saved = saved
        words = build_honest.tokenizer()
        self.words = words
        self.text_config = CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16, projection_dim=16, bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )  # fmt: skip
        self.text = CLIPTextModel(self.text_config)
        self.unet = diffusers.UNet2DConditionModel(**UNET)
        self.vae = diffusers.AutoencoderKL(**VAE)
        self.pipeline().save_pretrained(saved)

    def pipeline(self, **more: Any) -> diffusers.StableDiffusionPipeline:
        given = {
            "scheduler": diffusers.DDIMScheduler(),
            "safety_checker": None,
            "feature_extractor": None,
            **more,
        }
        return diffusers.StableDiffusionPipeline(
            vae=copy.deepcopy(self.vae), text_encoder=copy.deepcopy(self.text), tokenizer=self.words,
            unet=copy.deepcopy(self.unet),
            requires_safety_checker=given["safety_checker"] is not None, **given,
        )  # fmt: skip


def writes(
    name: str, code: int = 0, words: str = ""
) -> Callable[[Callable[[Path, Parts], Path]], Callable[[Path, Parts], Path]]:
    def keep(write: Callable[[Path, Parts], Path]) -> Callable[[Path, Parts], Path]:
        WRITERS[name] = (write, code, words)
        return write

    return keep


def saved(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    return folder


# --- pipelines, in every form that save_pretrained has
for _name, _dtype, _options in (
    ("pipeline", torch.float32, {}), ("pipeline of half precision", torch.float16, {}),
    ("pipeline in bfloat16", torch.bfloat16, {}),
    ("pipeline of variant fp16", torch.float16, {"variant": "fp16"}),
    ("sharded pipeline", torch.float32, {"max_shard_size": "40KB"}),
    ("sharded variant fp16", torch.float16, {"max_shard_size": "20KB", "variant": "fp16"}),
):  # fmt: skip

    @writes(_name)
    def _pipeline(
        out: Path, p: Parts, dtype: torch.dtype = _dtype, options: dict[str, Any] = _options
    ) -> Path:
        return saved(p.pipeline().to(dtype), out, **options)


@writes("pipeline with a safety checker")
def _checked(out: Path, p: Parts) -> Path:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=small, vision_config={**small, "image_size": 8, "patch_size": 4}, projection_dim=8
    )
    return saved(
        p.pipeline(
            safety_checker=StableDiffusionSafetyChecker(config), feature_extractor=CLIPImageProcessor()
        ),
        out,
    )


@writes("pipeline with LCM's condition on guidance")
def _lcm(out: Path, p: Parts) -> Path:
    made = p.pipeline(scheduler=diffusers.LCMScheduler())
    made.unet = diffusers.UNet2DConditionModel(**UNET, time_cond_proj_dim=12)
    return saved(made, out)


@writes("pipeline with a first block of four channels that does not attend")
def _narrow(out: Path, p: Parts) -> Path:
    made = p.pipeline()
    narrow = {**UNET, "block_out_channels": (4, 24), "norm_num_groups": 4, "attention_head_dim": 8}
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    made.unet = diffusers.UNet2DConditionModel(**{**narrow, "down_block_types": down, "up_block_types": up})
    return saved(made, out)


# --- schedulers as they save themselves by default
OTHERS_SCHEDULERS = (
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "SCMScheduler",
    "CMStochasticIterativeScheduler",
    "UnCLIPScheduler",
)  # fmt: skip


def schedulers() -> list[str]:
    """Every scheduler that a Stable Diffusion pipeline draws with and that can be made here."""
    from nightlatch.intake.configs.classes import SCHEDULERS

    made = []
    for name in sorted(SCHEDULERS):
        cls = getattr(diffusers, name)
        if isinstance(cls, type) and issubclass(cls, SchedulerMixin):
            made.append(name)
    return made


def with_scheduler(name: str) -> Callable[[Path, Parts], Path]:
    def write(out: Path, p: Parts) -> Path:
        shutil.copytree(p.saved, out)
        shutil.rmtree(out / "scheduler")
        scheduler = getattr(diffusers, name)()
        scheduler.save_pretrained(out / "scheduler")
        made = diffusers.DiffusionPipeline.load_config(out)
        text = (out / "model_index.json").read_text().replace(f'"{made["scheduler"][1]}"', f'"{name}"')
        (out / "model_index.json").write_text(text)
        return out

    return write


for _name in schedulers():
    WRITERS[f"scheduler {_name}"] = (with_scheduler(_name), 0, "")
for _name in OTHERS_SCHEDULERS:
    WRITERS[f"scheduler {_name}"] = (with_scheduler(_name), 2, _name)


# --- pipelines of other kinds
@writes("inpainting pipeline", 2, "inpainting")
def _inpaint(out: Path, p: Parts) -> Path:
    s = p.pipeline()
    unet = diffusers.UNet2DConditionModel(**{**UNET, "in_channels": 9})
    return saved(
        diffusers.StableDiffusionInpaintPipeline(
            **{**s.components, "unet": unet}, requires_safety_checker=False
        ),
        out,
    )


@writes("instruct-pix2pix pipeline", 2, "pix2pix")
def _pix2pix(out: Path, p: Parts) -> Path:
    s = p.pipeline()
    unet = diffusers.UNet2DConditionModel(**{**UNET, "in_channels": 8})
    return saved(
        diffusers.StableDiffusionInstructPix2PixPipeline(
            **{**s.components, "unet": unet}, requires_safety_checker=False
        ),
        out,
    )


@writes("SDXL pipeline", 2, "XL")
def _xl(out: Path, p: Parts) -> Path:
    return saved(_xl_pipeline(p), out)


@writes("SDXL pipeline of variant fp16", 2, "XL")
def _xl16(out: Path, p: Parts) -> Path:
    return saved(_xl_pipeline(p).to(torch.float16), out, variant="fp16")


def _xl_pipeline(p: Parts) -> diffusers.StableDiffusionXLPipeline:
    unet = diffusers.UNet2DConditionModel(
        **{**UNET, "cross_attention_dim": 32}, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=copy.deepcopy(p.vae), text_encoder=copy.deepcopy(p.text),
        text_encoder_2=CLIPTextModelWithProjection(p.text_config),
        tokenizer=p.words, tokenizer_2=p.words, unet=unet, scheduler=diffusers.EulerDiscreteScheduler(),
    )  # fmt: skip


@writes("ControlNet pipeline", 2, "ControlNet")
def _control(out: Path, p: Parts) -> Path:
    made = diffusers.StableDiffusionControlNetPipeline(
        **p.pipeline().components,
        controlnet=diffusers.ControlNetModel.from_unet(p.unet, conditioning_embedding_out_channels=(4, 8)),
        requires_safety_checker=False,
    )  # fmt: skip
    return saved(made, out)


# --- components by themselves
SMALL_DIT = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "num_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
}


@writes("component UNet", 2, "UNet")
def _unet(out: Path, p: Parts) -> Path:
    return saved(p.unet, out)


@writes("component autoencoder", 2, "autoencoder")
def _vae(out: Path, p: Parts) -> Path:
    return saved(p.vae, out)


@writes("component tiny autoencoder", 2, "TAESD")
def _tiny(out: Path, _: Parts) -> Path:
    ends = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    return saved(diffusers.AutoencoderTiny(**ends, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)), out)


@writes("component ControlNet", 2, "ControlNet")
def _controlnet(out: Path, p: Parts) -> Path:
    return saved(diffusers.ControlNetModel.from_unet(p.unet, conditioning_embedding_out_channels=(4, 8)), out)


@writes("component T2I-Adapter", 2, "T2I-Adapter")
def _t2i(out: Path, _: Parts) -> Path:
    return saved(diffusers.T2IAdapter(channels=[8, 8, 8, 8], num_res_blocks=1), out)


@writes("component motion module", 2, "AnimateDiff")
def _motion(out: Path, _: Parts) -> Path:
    motion = {"motion_layers_per_block": 1, "motion_norm_num_groups": 4, "motion_num_attention_heads": 2}
    return saved(diffusers.MotionAdapter(block_out_channels=(8, 8), **motion), out)


@writes("component text encoder", 2, "text encoder")
def _text(out: Path, p: Parts) -> Path:
    return saved(p.text, out)


@writes("component image encoder", 2, "image encoder")
def _vision(out: Path, _: Parts) -> Path:
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    return saved(CLIPVisionModelWithProjection(config), out)


@writes("component transformer of Stable Diffusion 3", 2, "transformer")
def _sd3(out: Path, _: Parts) -> Path:
    return saved(
        diffusers.SD3Transformer2DModel(
            **SMALL_DIT, joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16
        ),
        out,
    )


@writes("component transformer of Flux", 2, "transformer")
def _flux(out: Path, _: Parts) -> Path:
    small = {
        "in_channels": 4,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
    }
    return saved(
        diffusers.FluxTransformer2DModel(
            **small, joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4)
        ),
        out,
    )


@writes("component scheduler", 2, "scheduler")
def _scheduler(out: Path, _: Parts) -> Path:
    return saved(diffusers.DPMSolverMultistepScheduler(), out)


@writes("component tokenizer", 2, "tokenizer")
def _tokenizer(out: Path, p: Parts) -> Path:
    return saved(p.words, out)


def lone(name: str, words: str) -> None:
    """The weights of a component alone, as one file."""
    write = WRITERS[name][0]

    @writes(f"file of {name}", 2, words)
    def _(out: Path, p: Parts) -> Path:
        return next(iter(sorted(write(out, p).glob("*.safetensors"))))


for _name, _words in (
    ("component UNet", "UNet"), ("component autoencoder", "autoencoder"),
    ("component tiny autoencoder", "TAESD"),
    ("component ControlNet", "ControlNet"),
    ("component T2I-Adapter", "T2I-Adapter"), ("component motion module", "AnimateDiff"),
    ("component text encoder", "text encoder"),
    ("component image encoder", "image encoder"),
    ("component transformer of Stable Diffusion 3", "Stable Diffusion 3"),
    ("component transformer of Flux", "Flux"),
):  # fmt: skip
    lone(_name, _words)
