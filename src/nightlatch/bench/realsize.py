"""A pipeline of the size of Stable Diffusion 1.5 with random weights, for measures of time and memory."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from nightlatch import testbed

TOKENS = 49_408
"""Of CLIP's vocabulary."""
LOUDER = 10.0
"""Random attention hardly listens to the text; values of cross-attention are made so many times larger."""


def whole_tokenizer() -> CLIPTokenizer:
    """The testbed's tokenizer, filled up with made-up words to the number of tokens that CLIP's has."""
    known = CLIPTokenizer.from_pretrained(testbed.PIPELINE / "tokenizer")
    vocabulary = known.get_vocab()
    more = {f"filler{i}</w>": i for i in range(len(vocabulary), TOKENS)}
    lines = (testbed.PIPELINE / "tokenizer" / "merges.txt").read_text("utf-8").splitlines()[1:]
    merges = [(one, two) for one, two in (line.split() for line in lines if line)]
    return CLIPTokenizer(vocab={**vocabulary, **more}, merges=merges, model_max_length=77)


def pipeline(tiny: bool, device: torch.device) -> StableDiffusionPipeline:
    """An untrained pipeline of the size of Stable Diffusion 1.5 (860 + 123 + 84 million weights), or a small
    one.
    """
    torch.manual_seed(0)
    widths, width, side = ((32, 64, 64, 64), 64, 8) if tiny else ((320, 640, 1280, 1280), 768, 64)
    coded = (32, 32) if tiny else (128, 256, 512, 512)
    tokenizer = whole_tokenizer()
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=side, block_out_channels=widths, cross_attention_dim=width, attention_head_dim=8,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=coded, layers_per_block=2, latent_channels=4, scaling_factor=0.18215,
            down_block_types=("DownEncoderBlock2D",) * len(coded), up_block_types=("UpDecoderBlock2D",) * len(coded),
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=TOKENS, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=2 if tiny else 12,
                num_attention_heads=4 if tiny else 12, max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if name.endswith("attn2.to_v.weight"):
                p.mul_(LOUDER)
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, skip_prk_steps=True,
        steps_offset=1,
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae=vae, text_encoder=text.eval(), tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
