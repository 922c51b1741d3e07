"""What a safetensors file is, told by the names and shapes of its tensors: a table that asks the most
specific question first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nightlatch.intake.files.header import Tensor
from nightlatch.intake.names import Names

MAX_TOKENS = 8
TOKEN_WIDTHS = frozenset({768, 1024, 1280, 2048, 4096})
"""Widths of the token embeddings of CLIP L, OpenCLIP H, OpenCLIP G, and T5."""
MERGE = (
    "Merge it into the pipeline it belongs to, save that pipeline, and scan it: 'nightlatch scan FOLDER "
    "--base MODEL'."
)
WHOLE = "Scan the pipeline that it is a part of: 'nightlatch scan FOLDER --base MODEL'."
EMBEDDING = (
    "Load it into a pipeline, save that, and scan it: 'nightlatch scan FOLDER --base MODEL' tries its tokens "
    "first."
)
ARCHITECTURE = (
    "Its files were checked; 'nightlatch scan' loads Stable Diffusion 1.x and 2.x, and adapters for them."
)
SOURCE = "Scan the model that it was made from: 'nightlatch scan FILE --base MODEL'."


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file: what to call it, how it is told, and what to do with it."""

    words: str
    fits: Callable[[Names], bool]
    remedy: str


def recognise(tensors: Mapping[str, Tensor], table: Sequence[Layout]) -> Layout | None:
    """The first kind of ``table`` that fits; None when none does."""
    names = Names(tensors)
    return next((layout for layout in table if layout.fits(names)), None)


def is_quantised(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the weights are packed as a package for quantised models packs them."""
    return Names(tensors).quantised()


def is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    """Whether it is a textual-inversion embedding: rows for a token table, alone or one set for each text
    encoder.
    """
    if not tensors or len(tensors) > MAX_TOKENS:
        return False
    if any("string_to_param" in n for n in tensors):
        return True
    rows = all(1 <= len(t.shape) <= 2 and t.shape[-1] > 0 for t in tensors.values())
    named = tensors.keys() <= {"emb_params", "clip_l", "clip_g", "t5xxl"}
    plain = all(
        "." not in n.strip(".") and t.shape[-1:] and t.shape[-1] in TOKEN_WIDTHS for n, t in tensors.items()
    )
    return rows and (named or plain)


def is_whole(n: Names) -> bool:
    """A denoiser of the original training code with something beside it."""
    return any(name.startswith("model.diffusion_model.") for name in n.tensors) and n.any(
        "first_stage_model", "vae", "cond_stage_model", "conditioner", "text_encoders"
    )


def is_original_unet(n: Names) -> bool:
    return (
        n.all("input_blocks.0.0", "middle_block.0")
        or n.all("input_blocks.0.0", "time_embed.0")
        or n.all("input_blocks.0.0", "out.2")
    )


def is_diffusers_unet(n: Names) -> bool:
    return n.all("conv_in.weight", "down_blocks.0", "time_embedding.linear_1")


def is_vae(n: Names) -> bool:
    both = n.any("encoder.conv_in", "first_stage_model.encoder.conv_in", "vae.encoder.conv_in") or n.any(
        "encoder.down", "encoder.down_blocks"
    )
    return n.any("decoder.conv_in", "first_stage_model.decoder.conv_in", "vae.decoder.conv_in") or (
        both and n.any("quant_conv.weight")
    )


def is_video_vae(n: Names) -> bool:
    return n.all("decoder.middle", "encoder.middle") or (
        is_vae(n) and any(len(s.shape) == 5 for s in n.tensors.values())
    )


def text_width(n: Names) -> int:
    """How wide the prompts are that a UNet reads."""
    shape = n.shape("attn2.to_k.weight")
    return shape[1] if len(shape) > 1 else 0


LATENT_CHANNELS = 4
"""Of Stable Diffusion's autoencoder, where a file does not say what its UNet draws."""


def channels(n: Names) -> tuple[int, int]:
    """How many channels a UNet reads, and how many it draws."""
    first, last = n.shape("input_blocks.0.0.weight"), n.shape("out.2.weight")
    drawn = last[0] if len(last) == 4 else LATENT_CHANNELS
    return (first[1] if len(first) == 4 else drawn), drawn


def reads(n: Names, latents: int, more: int) -> bool:
    """Whether a UNet reads ``latents`` times what it draws and ``more`` channels."""
    read, drawn = channels(n)
    return read == latents * drawn + more
