"""diffusers' names and shapes turned into those of the original training code: a single-file checkpoint to
test with.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTER = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
PLACE = re.compile(
    r"(down|up|mid)_blocks?\.?(\d*)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)"
)


def unet_name(name: str, per_block: int, attends: set[int]) -> str:
    """The name in the original UNet; ``attends``: numbers of the output blocks that hold attention."""
    found = PLACE.fullmatch(name)
    if not found:
        module, _, last = name.rpartition(".")
        return f"{OUTER[module]}.{last}"
    side, block, kind, layer, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    inner = rest
    if kind == "resnets":
        module, _, last = rest.rpartition(".")
        inner = f"{RESNET[module]}.{last}"
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{inner}"
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (per_block + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        last_block = block * (per_block + 1) + per_block
        return f"output_blocks.{last_block}.{2 if last_block in attends else 1}.{rest}"
    number = block * (per_block + 1) + layer + (side == "down")
    return f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}.{inner}"


def vae_name(name: str, blocks: int) -> str:
    """The name in the original autoencoder, which counts the decoder's blocks backwards."""
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        for ours, theirs in ATTENTION.items():
            name = name.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def tensors(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """All weights of ``pipeline`` under the original names."""
    made: dict[str, torch.Tensor] = {}
    unet, vae, text = (p.state_dict() for p in (pipeline.unet, pipeline.vae, pipeline.text_encoder))
    per_block = int(pipeline.unet.config.layers_per_block)
    places = [PLACE.fullmatch(n) for n in unet]
    attends = {
        int(m[2]) * (per_block + 1) + int(m[4]) for m in places if m and m[1] == "up" and m[3] == "attentions"
    }
    for name, value in unet.items():
        made[f"model.diffusion_model.{unet_name(name, per_block, attends)}"] = value
    for name, value in vae.items():
        square = ".attentions.0." in name and value.ndim == 2
        made[f"first_stage_model.{vae_name(name, len(pipeline.vae.config.block_out_channels))}"] = (
            value[..., None, None] if square else value
        )
    for name, value in text.items():
        made[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    return {k: v.contiguous().clone() for k, v in made.items()}


def save(pipeline: StableDiffusionPipeline, path: Path) -> Path:
    save_file(tensors(pipeline), path)
    return path
