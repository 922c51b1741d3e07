"""Run as a script: writes honest files by the libraries' own save functions, and the shapes of their own
classes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

WORDS = ("cat", "dog", "red", "blue", "sun")
UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4, "cross_attention_dim": 16, "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
VAE = {
    "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "latent_channels": 4,
    "sample_size": 16,
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip
SD1_UNET = {"sample_size": 64, "cross_attention_dim": 768}
SD2_UNET = {
    **SD1_UNET,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
ODD_UNET = {
    "layers_per_block": (1, 2, 3), "block_out_channels": (32, 64, 96), "cross_attention_dim": (8, 16, 24),
    "attention_head_dim": (2, 4, 8), "transformer_layers_per_block": (1, 2, 1), "time_cond_proj_dim": 12,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), "in_channels": 9,
    "time_embedding_dim": 80,
}  # fmt: skip
SD_VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
PLAIN_VAE = {
    **VAE,
    "mid_block_add_attention": False,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "latent_channels": 8,
}


def tokenizer() -> CLIPTokenizer:
    """CLIP's construction with the 512 byte tokens and five words."""
    characters, merges = list(bytes_to_unicode().values()), []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    tokens = [
        *characters,
        *(c + "</w>" for c in characters),
        *(a + b for a, b in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, model_max_length=16)


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    """Name to shape of every tensor in the state."""
    return {k: list(v.shape) for k, v in model.state_dict().items()}


def reference() -> list[dict[str, object]]:
    """Config and shapes of full-size models, built without memory on the 'meta' device."""
    rows: list[dict[str, object]] = []
    with torch.device("meta"):
        for cls, options in [
            (UNet2DConditionModel, SD1_UNET), (UNet2DConditionModel, SD2_UNET),
            (UNet2DConditionModel, ODD_UNET),
            (UNet2DConditionModel, UNET), (AutoencoderKL, SD_VAE), (AutoencoderKL, VAE),
            (AutoencoderKL, PLAIN_VAE),
        ]:  # fmt: skip
            model = cls(**options)
            rows.append(
                {"class": cls.__name__, "config": json.loads(model.to_json_string()), "shapes": shapes(model)}
            )
        for options in (
            {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            {"num_hidden_layers": 23},
        ):
            config = CLIPTextConfig(**options)
            rows.append(
                {
                    "class": "CLIPTextModel",
                    "config": config.to_dict(),
                    "shapes": shapes(CLIPTextModel(config)),
                }
            )
    return rows


def main(out: Path) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16, projection_dim=16, **special,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(**VAE), text_encoder=CLIPTextModel(text), tokenizer=words,
        unet=UNet2DConditionModel(**UNET),
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(out / "pipeline")
    pipe.save_pretrained(out / "sharded", max_shard_size="40KB")
    pipe.save_pretrained(out / "variant", variant="fp16")
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_k", "to_v"], init_lora_weights="gaussian"))
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    StableDiffusionPipeline.save_lora_weights(out / "lora", unet_lora_layers=layers)
    peft_model = __import__("peft").get_peft_model(
        UNet2DConditionModel(**UNET), LoraConfig(r=2, target_modules=["to_q"])
    )
    peft_model.save_pretrained(out / "peft")
    (out / "shapes.json").write_text(json.dumps(reference()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
