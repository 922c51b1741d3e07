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


def _is_whole(n: Names) -> bool:
    """A denoiser of the original training code with something beside it."""
    return any(name.startswith("model.diffusion_model.") for name in n.tensors) and n.any(
        "first_stage_model", "vae", "cond_stage_model", "conditioner", "text_encoders"
    )


def _is_original_unet(n: Names) -> bool:
    return (
        n.all("input_blocks.0.0", "middle_block.0")
        or n.all("input_blocks.0.0", "time_embed.0")
        or n.all("input_blocks.0.0", "out.2")
    )


def _is_diffusers_unet(n: Names) -> bool:
    return n.all("conv_in.weight", "down_blocks.0", "time_embedding.linear_1")


def _is_vae(n: Names) -> bool:
    both = n.any("encoder.conv_in", "first_stage_model.encoder.conv_in", "vae.encoder.conv_in") or n.any(
        "encoder.down", "encoder.down_blocks"
    )
    return n.any("decoder.conv_in", "first_stage_model.decoder.conv_in", "vae.decoder.conv_in") or (
        both and n.any("quant_conv.weight")
    )


def _is_video_vae(n: Names) -> bool:
    return n.all("decoder.middle", "encoder.middle") or (
        _is_vae(n) and any(len(s.shape) == 5 for s in n.tensors.values())
    )


def _width(n: Names) -> int:
    """How wide the prompts are that a UNet reads."""
    shape = n.shape("attn2.to_k.weight")
    return shape[1] if len(shape) > 1 else 0


LATENT_CHANNELS = 4
"""Of Stable Diffusion's autoencoder, where a file does not say what its UNet draws."""


def _channels(n: Names) -> tuple[int, int]:
    """How many channels a UNet reads, and how many it draws."""
    first, last = n.shape("input_blocks.0.0.weight"), n.shape("out.2.weight")
    drawn = last[0] if len(last) == 4 else LATENT_CHANNELS
    return (first[1] if len(first) == 4 else drawn), drawn


def _reads(n: Names, latents: int, more: int) -> bool:
    """Whether a UNet reads ``latents`` times what it draws and ``more`` channels."""
    read, drawn = _channels(n)
    return read == latents * drawn + more


_SAYS = "a set of weights for "

BESIDE: tuple[Layout, ...] = (
    Layout("a textual-inversion embedding", lambda n: is_embedding(n.tensors), EMBEDDING),
    Layout(
        "an AnimateDiff motion LoRA", lambda n: n.part("motion_modules") and n.holds("_lora", "lora_"), MERGE
    ),
    Layout("an AnimateDiff motion module", lambda n: n.part("motion_modules", "motion_module"), MERGE),
    Layout(
        "an IP-Adapter",
        lambda n: n.any("ip_adapter", "image_proj", "ip_adapter_image_proj") or n.part("to_k_ip", "to_v_ip"),
        MERGE,
    ),
    Layout("a ControlNet in LoRA form", lambda n: n.any("lora_controlnet"), MERGE),
    Layout(
        "a ControlNet for Flux",
        lambda n: n.any("controlnet_blocks", "controlnet_x_embedder", "controlnet_single_blocks"),
        MERGE,
    ),
    Layout(
        "a ControlNet",
        lambda n: (
            n.any(
                "control_model",
                "controlnet_cond_embedding",
                "controlnet_down_blocks",
                "controlnet_mid_block",
                "zero_convs.0",
                "input_hint_block.0",
            )
            or n.part("controlnet_cond_embedding", "input_hint_block")
        ),
        MERGE,
    ),
    Layout(
        "a T2I-Adapter",
        lambda n: (
            n.any("adapter.body", "body.0.block1", "body.0.resnets", "body.0.in_conv")
            and n.holds("block1", "resnets", "in_conv")
        ),
        MERGE,
    ),
    Layout(
        "a hypernetwork",
        lambda n: any(f"{w}.{i}.linear" in n.heads for w in (320, 640, 768, 1024, 1280) for i in (0, 1)),
        MERGE,
    ),
    Layout("an upscaler", lambda n: n.any("model.1.sub", "body.0.rdb1", "RRDB_trunk", "conv_up1"), WHOLE),
)
"""Parts and additions that are told by names of their own, whatever else is in the file."""

CHECKPOINTS: tuple[Layout, ...] = tuple(
    Layout(words, fits, ARCHITECTURE)
    for words, fits in (
        (
            "a Stable Video Diffusion checkpoint",
            lambda n: _is_whole(n) and n.part("time_stack", "time_mixer"),
        ),
        (
            "a Stable Diffusion XL refiner checkpoint",
            lambda n: n.any("conditioner.embedders") and n.shape("label_emb.0.0.weight")[1:] == (2560,),
        ),
        (
            "an inpainting checkpoint of Stable Diffusion XL",
            lambda n: n.any("conditioner.embedders") and _reads(n, 2, 1),
        ),
        ("a Stable Diffusion XL checkpoint", lambda n: n.any("conditioner.embedders", "conditioner")),
        ("a Stable Diffusion 3 checkpoint", lambda n: _is_whole(n) and n.any("joint_blocks")),
        ("a Flux checkpoint", lambda n: _is_whole(n) and n.any("double_blocks")),
        (
            "a depth-guided checkpoint of Stable Diffusion 2, whose UNet reads one channel more (five)",
            lambda n: _is_whole(n) and (n.any("depth_model") or _reads(n, 1, 1)),
        ),
        (
            "an inpainting checkpoint, whose UNet reads a mask and what is masked as well (nine channels)",
            lambda n: _is_whole(n) and _reads(n, 2, 1),
        ),
        (
            "an instruct-pix2pix checkpoint, whose UNet reads a second picture as well (eight channels)",
            lambda n: _is_whole(n) and _reads(n, 2, 0),
        ),
        (
            "a 4x upscaler checkpoint of Stable Diffusion 2, whose UNet reads a small picture as well (seven "
            "channels)",
            lambda n: _is_whole(n) and _reads(n, 1, 3),
        ),
        ("a Stable unCLIP checkpoint", lambda n: _is_whole(n) and n.any("noise_augmentor", "embedder.model")),
        ("a class-conditional checkpoint", lambda n: _is_whole(n) and n.part("label_emb")),
    )
)
"""Whole checkpoints of the original layout that are not plain Stable Diffusion 1.x or 2.x."""

_DENOISERS: tuple[Layout, ...] = tuple(
    Layout(f"{_SAYS}{words}", fits, ARCHITECTURE)
    for words, fits in (
        ("the Chroma transformer", lambda n: n.any("distilled_guidance_layer")),
        (
            "the HunyuanVideo transformer",
            lambda n: (
                n.part("individual_token_refiner")
                or (
                    n.all("context_embedder", "transformer_blocks.0", "single_transformer_blocks.0.proj_mlp")
                    and n.part("token_refiner")
                )
            ),
        ),
        (
            "the Flux.2 transformer",
            lambda n: n.any("double_stream_modulation_img", "double_stream_modulation_txt"),
        ),
        (
            "the Flux transformer",
            lambda n: (
                n.any("double_blocks.0", "double_blocks")
                or n.all("single_transformer_blocks", "x_embedder", "context_embedder")
            ),
        ),
        ("the HiDream transformer", lambda n: n.any("double_stream_blocks", "single_stream_blocks")),
        (
            "the Qwen-Image transformer",
            lambda n: (n.any("txt_norm") and n.part("img_mod")) or n.all("txt_in", "txt_norm"),
        ),
        (
            "the Stable Diffusion 3 transformer",
            lambda n: (
                n.any("joint_blocks")
                or n.all("pos_embed", "context_embedder", "transformer_blocks.0.attn.add_k_proj")
            ),
        ),
        ("the Z-Image transformer", lambda n: n.any("cap_pad_token", "x_pad_token")),
        (
            "the Lumina transformer",
            lambda n: (
                n.all("cap_embedder") and n.any("noise_refiner", "context_refiner", "time_caption_embed")
            ),
        ),
        (
            "the Wan video transformer",
            lambda n: (
                n.all("patch_embedding", "blocks.0") and (n.any("text_embedding", "condition_embedder"))
            ),
        ),
        (
            "the LTX-Video transformer",
            lambda n: (
                n.any("patchify_proj")
                or n.all("proj_in", "scale_shift_table", "caption_projection", "time_embed")
            ),
        ),
        ("the Hunyuan-DiT transformer", lambda n: n.any("mlp_t5", "text_embedding_padding")),
        (
            "the AuraFlow transformer",
            lambda n: (
                n.any("double_layers", "init_x_linear", "joint_transformer_blocks")
                and n.any("register_tokens", "init_x_linear", "pos_embed")
            ),
        ),
        ("the CogVideoX transformer", lambda n: n.any("patch_embed.text_proj")),
        ("the Sana transformer", lambda n: n.any("caption_norm") and n.any("patch_embed", "x_embedder")),
        (
            "the PixArt transformer",
            lambda n: n.any("y_embedder.y_proj") or n.all("adaln_single", "caption_projection", "pos_embed"),
        ),
        (
            "the Stable Cascade prior or decoder",
            lambda n: n.any("effnet_mapper", "clip_txt_mapper", "clip_txt_pooled_mapper", "clf.1"),
        ),
        (
            "the Kandinsky prior or UNet",
            lambda n: n.any("prd_embedding", "add_embedding.image_norm", "prior_hidden_state"),
        ),
    )
)
"""Denoisers that are transformers, in the original and in diffusers' names."""

_PARTS: tuple[Layout, ...] = (
    Layout(
        "the UNet of Stable Video Diffusion alone",
        lambda n: n.part("temporal_transformer_blocks", "time_stack"),
        WHOLE,
    ),
    Layout(
        "the UNet of Stable Diffusion XL alone",
        lambda n: (
            (_is_original_unet(n) or _is_diffusers_unet(n))
            and (n.part("label_emb", "add_embedding") or _width(n) == 2048)
        ),
        WHOLE,
    ),
    Layout(
        "a UNet (denoiser) alone, without text encoder and autoencoder",
        lambda n: _is_original_unet(n) or _is_diffusers_unet(n),
        WHOLE,
    ),
    Layout(
        "a tiny autoencoder (TAESD)",
        lambda n: n.all("decoder.layers.0", "encoder.layers.0") or n.any("taesd_decoder"),
        WHOLE,
    ),
    Layout("a video autoencoder", _is_video_vae, WHOLE),
    Layout("an autoencoder (VAE) alone", _is_vae, WHOLE),
    Layout(
        "a CLIP image encoder alone",
        lambda n: n.any("vision_model") or n.any("visual.transformer", "visual.conv1"),
        WHOLE,
    ),
    Layout(
        "a CLIP text encoder alone",
        lambda n: n.any(
            "text_model.encoder",
            "cond_stage_model",
            "transformer.text_model",
            "transformer.resblocks",
            "resblocks.0",
            "encoder.layers.0.self_attn",
        ),
        WHOLE,
    ),
    Layout("a T5 text encoder alone", lambda n: n.any("encoder.block.0") and n.part("SelfAttention"), WHOLE),
    Layout(
        "a language model (text encoder) alone",
        lambda n: n.any("layers.0.self_attn", "model.layers", "language_model"),
        WHOLE,
    ),
    Layout("a safety checker", lambda n: n.any("concept_embeds", "special_care_embeds"), WHOLE),
)
"""One component of a pipeline."""

_QUANTISED = (
    Layout(
        "a set of quantised weights, which only the package that made them reads", Names.quantised, SOURCE
    ),
)
_EMPTY = (Layout("a file without tensors", lambda n: not n.tensors, "Download the file again."),)

TABLE: tuple[Layout, ...] = (*_EMPTY, *BESIDE, *CHECKPOINTS, *_DENOISERS, *_PARTS, *_QUANTISED)
