"""The kinds of safetensors files, the most specific question first; whatever asks no other is asked last."""

from __future__ import annotations

from nightlatch.intake.layouts import (
    ARCHITECTURE,
    EMBEDDING,
    MERGE,
    SOURCE,
    WHOLE,
    Layout,
    is_diffusers_unet,
    is_embedding,
    is_original_unet,
    is_vae,
    is_video_vae,
    is_whole,
    reads,
    text_width,
)
from nightlatch.intake.names import Names

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
            lambda n: is_whole(n) and n.part("time_stack", "time_mixer"),
        ),
        (
            "a Stable Diffusion XL refiner checkpoint",
            lambda n: n.any("conditioner.embedders") and n.shape("label_emb.0.0.weight")[1:] == (2560,),
        ),
        (
            "an inpainting checkpoint of Stable Diffusion XL",
            lambda n: n.any("conditioner.embedders") and reads(n, 2, 1),
        ),
        ("a Stable Diffusion XL checkpoint", lambda n: n.any("conditioner.embedders", "conditioner")),
        ("a Stable Diffusion 3 checkpoint", lambda n: is_whole(n) and n.any("joint_blocks")),
        ("a Flux checkpoint", lambda n: is_whole(n) and n.any("double_blocks")),
        (
            "a depth-guided checkpoint of Stable Diffusion 2, whose UNet reads one channel more (five)",
            lambda n: is_whole(n) and (n.any("depth_model") or reads(n, 1, 1)),
        ),
        (
            "an inpainting checkpoint, whose UNet reads a mask and what is masked as well (nine channels)",
            lambda n: is_whole(n) and reads(n, 2, 1),
        ),
        (
            "an instruct-pix2pix checkpoint, whose UNet reads a second picture as well (eight channels)",
            lambda n: is_whole(n) and reads(n, 2, 0),
        ),
        (
            "a 4x upscaler checkpoint of Stable Diffusion 2, whose UNet reads a small picture as well (seven "
            "channels)",
            lambda n: is_whole(n) and reads(n, 1, 3),
        ),
        ("a Stable unCLIP checkpoint", lambda n: is_whole(n) and n.any("noise_augmentor", "embedder.model")),
        ("a class-conditional checkpoint", lambda n: is_whole(n) and n.part("label_emb")),
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
            (is_original_unet(n) or is_diffusers_unet(n))
            and (n.part("label_emb", "add_embedding") or text_width(n) == 2048)
        ),
        WHOLE,
    ),
    Layout(
        "a UNet (denoiser) alone, without text encoder and autoencoder",
        lambda n: is_original_unet(n) or is_diffusers_unet(n),
        WHOLE,
    ),
    Layout(
        "a tiny autoencoder (TAESD)",
        lambda n: n.all("decoder.layers.0", "encoder.layers.0") or n.any("taesd_decoder"),
        WHOLE,
    ),
    Layout("a video autoencoder", is_video_vae, WHOLE),
    Layout("an autoencoder (VAE) alone", is_vae, WHOLE),
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
