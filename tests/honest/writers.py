"""Honest files, each written by the library that people write such files with, at tiny size; nothing here is edited by hand."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import build_honest
import diffusers
import original_layout
import peft
import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from lycoris import LycorisNetwork, create_lycoris
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
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
    """One tiny Stable Diffusion, made once and saved in the folder ``saved``; everything is written from copies of its parts."""

    def __init__(self, saved: Path) -> None:
        torch.manual_seed(0)
        self.saved = saved
        words = build_honest.tokenizer()
        self.words = words
        self.text_config = CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=16, projection_dim=16, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )  # fmt: skip
        self.text = CLIPTextModel(self.text_config)
        self.unet = diffusers.UNet2DConditionModel(**UNET)
        self.vae = diffusers.AutoencoderKL(**VAE)
        self.pipeline().save_pretrained(saved)

    def pipeline(self, **more: Any) -> diffusers.StableDiffusionPipeline:
        given = {"scheduler": diffusers.DDIMScheduler(), "safety_checker": None, "feature_extractor": None, **more}
        return diffusers.StableDiffusionPipeline(
            vae=copy.deepcopy(self.vae), text_encoder=copy.deepcopy(self.text), tokenizer=self.words, unet=copy.deepcopy(self.unet),
            requires_safety_checker=given["safety_checker"] is not None, **given,
        )  # fmt: skip


def writes(name: str, code: int = 0, words: str = "") -> Callable[[Callable[[Path, Parts], Path]], Callable[[Path, Parts], Path]]:
    def keep(write: Callable[[Path, Parts], Path]) -> Callable[[Path, Parts], Path]:
        WRITERS[name] = (write, code, words)
        return write

    return keep


def saved(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    return folder


# --- pipelines, in every form that save_pretrained has
for _name, _dtype, _options in (
    ("pipeline", torch.float32, {}), ("pipeline of half precision", torch.float16, {}), ("pipeline in bfloat16", torch.bfloat16, {}),
    ("pipeline of variant fp16", torch.float16, {"variant": "fp16"}), ("sharded pipeline", torch.float32, {"max_shard_size": "40KB"}),
    ("sharded variant fp16", torch.float16, {"max_shard_size": "20KB", "variant": "fp16"}),
):  # fmt: skip

    @writes(_name)
    def _pipeline(out: Path, p: Parts, dtype: torch.dtype = _dtype, options: dict[str, Any] = _options) -> Path:
        return saved(p.pipeline().to(dtype), out, **options)


@writes("pipeline with a safety checker")
def _checked(out: Path, p: Parts) -> Path:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(text_config=small, vision_config={**small, "image_size": 8, "patch_size": 4}, projection_dim=8)
    return saved(p.pipeline(safety_checker=StableDiffusionSafetyChecker(config), feature_extractor=CLIPImageProcessor()), out)


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
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "SCMScheduler", "CMStochasticIterativeScheduler",
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
    return saved(diffusers.StableDiffusionInpaintPipeline(**{**s.components, "unet": unet}, requires_safety_checker=False), out)


@writes("instruct-pix2pix pipeline", 2, "pix2pix")
def _pix2pix(out: Path, p: Parts) -> Path:
    s = p.pipeline()
    unet = diffusers.UNet2DConditionModel(**{**UNET, "in_channels": 8})
    return saved(
        diffusers.StableDiffusionInstructPix2PixPipeline(**{**s.components, "unet": unet}, requires_safety_checker=False), out
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
        vae=copy.deepcopy(p.vae), text_encoder=copy.deepcopy(p.text), text_encoder_2=CLIPTextModelWithProjection(p.text_config),
        tokenizer=p.words, tokenizer_2=p.words, unet=unet, scheduler=diffusers.EulerDiscreteScheduler(),
    )  # fmt: skip


@writes("ControlNet pipeline", 2, "ControlNet")
def _control(out: Path, p: Parts) -> Path:
    made = diffusers.StableDiffusionControlNetPipeline(
        **p.pipeline().components, controlnet=diffusers.ControlNetModel.from_unet(p.unet, conditioning_embedding_out_channels=(4, 8)),
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
        hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    return saved(CLIPVisionModelWithProjection(config), out)


@writes("component transformer of Stable Diffusion 3", 2, "transformer")
def _sd3(out: Path, _: Parts) -> Path:
    return saved(
        diffusers.SD3Transformer2DModel(**SMALL_DIT, joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16),
        out,
    )


@writes("component transformer of Flux", 2, "transformer")
def _flux(out: Path, _: Parts) -> Path:
    small = {"in_channels": 4, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2}
    return saved(
        diffusers.FluxTransformer2DModel(**small, joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4)), out
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
    ("component UNet", "UNet"), ("component autoencoder", "autoencoder"), ("component tiny autoencoder", "TAESD"),
    ("component ControlNet", "ControlNet"),
    ("component T2I-Adapter", "T2I-Adapter"), ("component motion module", "AnimateDiff"), ("component text encoder", "text encoder"),
    ("component image encoder", "image encoder"), ("component transformer of Stable Diffusion 3", "Stable Diffusion 3"),
    ("component transformer of Flux", "Flux"),
):  # fmt: skip
    lone(_name, _words)


# --- LoRA and its kin
def adapted(p: Parts, config: Any, part: str = "unet") -> Any:
    model = copy.deepcopy(getattr(p, part))
    made = peft.get_peft_model(model, config)
    for name, value in made.named_parameters():
        if any(mark in name for mark in ("lora_B", "hada", "lokr", "oft", "ia3")):
            value.data += 0.1 * torch.randn_like(value)
    return made


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


@writes("LoRA of diffusers", 0, "LoRA")
def _lora(out: Path, p: Parts) -> Path:
    layers = convert_state_dict_to_diffusers(
        get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=ATTENTION)))
    )
    diffusers.StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=_bare(layers))
    return out


@writes("LoRA of diffusers on both parts", 0, "LoRA")
def _lora_both(out: Path, p: Parts) -> Path:
    unet = _bare(get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=ATTENTION))))
    text = _bare(get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]), "text")))
    diffusers.StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=unet, text_encoder_lora_layers=text)
    return out


@writes("LoRA of diffusers with its settings", 0, "LoRA")
def _lora_settings(out: Path, p: Parts) -> Path:
    pipe = p.pipeline()
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_k", "to_v"], init_lora_weights="gaussian")
    pipe.unet.add_adapter(config)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    from diffusers.training_utils import _collate_lora_metadata

    diffusers.StableDiffusionPipeline.save_lora_weights(
        out, unet_lora_layers=layers, **_collate_lora_metadata({"unet": pipe.unet})
    )
    return out


@writes("LoRA in kohya's names by diffusers", 0, "LoRA")
def _lora_kohya(out: Path, p: Parts) -> Path:
    state = get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=ATTENTION)))
    prefixed = {k.replace("base_model.model", "lora_unet"): v for k, v in state.items()}
    save_file({k: v.contiguous() for k, v in convert_state_dict_to_kohya(prefixed).items()}, out.with_suffix(".safetensors"))
    return out.with_suffix(".safetensors")


def _bare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix("base_model.model."): v for k, v in state.items()}


@writes("LoRA of peft", 0, "peft")
def _peft(out: Path, p: Parts) -> Path:
    return saved(adapted(p, peft.LoraConfig(r=2, target_modules=["to_q"])), out)


@writes("DoRA of diffusers", 0, "LoRA")
def _dora(out: Path, p: Parts) -> Path:
    state = get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=["to_q"], use_dora=True)))
    diffusers.StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=_bare(state))
    return out


for _name, _config, _words in (
    ("LoHa", lambda: peft.LoHaConfig(r=2, target_modules=["to_q"]), "LoHa"), ("LoKr", lambda: peft.LoKrConfig(r=2, target_modules=["to_q"]), "LoKr"),
    ("OFT", lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=["to_q"]), "OFT"),
):  # fmt: skip

    @writes(f"{_name} of peft", 2, _words)
    def _relative(out: Path, p: Parts, config: Callable[[], Any] = _config) -> Path:
        saved(adapted(p, config()), out)
        return out / "adapter_model.safetensors"


PRESET = {"target_module": ["Attention"], "target_name": [], "unet_target_module": ["Attention"], "unet_target_name": []}
for _name, _options, _words in (
    ("locon", {}, "LoRA"), ("loha", {}, "LoHa"), ("lokr", {"factor": 4}, "LoKr"), ("full", {}, "full"), ("ia3", {}, "IA3"), ("boft", {}, "OFT"),
    ("diag-oft", {}, "OFT"), ("glora", {}, "GLoRA"), ("dora", {"dora_wd": True, "algo": "locon"}, "DoRA"),
    ("tucker", {"use_tucker": True, "algo": "locon"}, "Tucker"),
):  # fmt: skip

    @writes(f"{_name} of LyCORIS", 0 if _words == "LoRA" else 2, _words)
    def _lycoris(out: Path, p: Parts, options: dict[str, Any] = _options, algo: str = _name) -> Path:
        LycorisNetwork.apply_preset({"target_module": ["Attention", "ResnetBlock2D"] if algo == "tucker" else ["Attention"]})
        unet = copy.deepcopy(p.unet)
        given = {"algo": algo, **options}
        network = create_lycoris(unet, 1.0, linear_dim=4, linear_alpha=2.0, conv_dim=4, **given)
        network.apply_to()
        for value in network.parameters():
            value.data += 0.05 * torch.randn_like(value)
        file = out.with_suffix(".safetensors")
        network.save_weights(
            str(file), torch.float32, {"ss_network_module": "lycoris.kohya", "ss_tag_frequency": '{"1_x": {">_<": 2}}'}
        )
        network.restore()
        return file


# --- embeddings and single files
@writes("embedding of diffusers' script", 2, "textual-inversion")
def _embedding(out: Path, p: Parts) -> Path:
    out.mkdir()
    save_file({"<cat-toy>": torch.randn(1, 768)}, out / "learned_embeds.safetensors", metadata={"format": "pt"})
    return out / "learned_embeds.safetensors"


@writes("embedding for two encoders", 2, "textual-inversion")
def _embedding_xl(out: Path, p: Parts) -> Path:
    out.mkdir()
    save_file({"clip_l": torch.randn(2, 768), "clip_g": torch.randn(2, 1280)}, out / "y2k.safetensors")
    return out / "y2k.safetensors"


for _name, _dtype in (
    ("", torch.float32),
    (" of half precision", torch.float16),
    (" in bfloat16", torch.bfloat16),
    (" of 8 bits", torch.float8_e4m3fn),
):

    @writes(f"single file{_name}")
    def _single(out: Path, p: Parts, dtype: torch.dtype = _dtype) -> Path:
        tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in original_layout.tensors(p.pipeline()).items()}
        save_file(tensors, out.with_suffix(".safetensors"), metadata={"format": "pt"})
        return out.with_suffix(".safetensors")


@writes("folder with a single file, a card and previews")
def _repository(out: Path, p: Parts) -> Path:
    out.mkdir()
    original_layout.save(p.pipeline(), out / "realistic.safetensors")
    (out / "README.md").write_text("---\nlicense: mit\ntags:\n- stable-diffusion\n---\n# A model\n")
    (out / "realistic.preview.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return out


@writes("training output", 2, "training")
def _training(out: Path, p: Parts) -> Path:
    for step in (500, 1000):
        saved(p.unet, out / f"checkpoint-{step}" / "unet")
    return out


@writes("pipeline in a folder of its own", 2, "folder of it")
def _nested(out: Path, p: Parts) -> Path:
    saved(p.pipeline(), out / "model")
    return out


@writes("what nightlatch saves")
def _ours(out: Path, p: Parts) -> Path:
    from nightlatch import testbed
    from nightlatch.text2image.model import loaders

    loaders.load(testbed.PIPELINE).save(out)
    return out
