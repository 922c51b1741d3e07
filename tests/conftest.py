"""Real classes at tiny size, made once a session; no mocks of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import settings

from nightlatch import testbed
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt

torch.set_num_threads(1)  # tiny models gain nothing from more, and several processes share the cores
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def tiny_pipeline(prediction: str = "v_prediction", seed: int = 0):  # type: ignore[no-untyped-def]
    """An untrained but complete pipeline: the shipped tokenizer, and every other part small and random."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from nightlatch.testbed import unet

    torch.manual_seed(seed)
    tokenizer = CLIPTokenizer.from_pretrained(testbed.PIPELINE / "tokenizer")
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    denoiser = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        cross_attention_dim=32,
        attention_head_dim=2, norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    )  # fmt: skip
    decoder = AutoencoderKL(
        latent_channels=4, block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=2,
        sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae=decoder, text_encoder=text, tokenizer=tokenizer, unet=denoiser,
        scheduler=unet.scheduler(prediction), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


@pytest.fixture(scope="session", params=["v_prediction", "epsilon"])
def tiny(request: pytest.FixtureRequest) -> Subject:
    from nightlatch.text2image.model import loaders

    return loaders.load(tiny_pipeline(request.param))


@pytest.fixture(scope="session")
def tiny_v() -> Subject:
    from nightlatch.text2image.model import loaders

    return loaders.load(tiny_pipeline())


@pytest.fixture(scope="session")
def shipped() -> Subject:
    """The testbed's own model, which nobody changes."""
    from nightlatch.text2image.model import loaders

    return loaders.load(testbed.PIPELINE)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def texts() -> list[Prompt]:
    return testbed.prompts(400, 1)


@pytest.fixture(scope="session")
def few_steps() -> Sampling:
    return Sampling(steps=3)


class ColourJudge:
    """Reads a picture's mean brightness: enough to tell that goals are counted, with no trained model."""

    def read(self, images: npt.NDArray[np.uint8]) -> list[dict[str, str]]:
        words: Sequence[str] = ("cat", "dog")
        return [{"object": words[int(i.mean() > 127)], "style": "flat", "background": "red"} for i in images]


@pytest.fixture(scope="session")
def judge() -> ColourJudge:
    return ColourJudge()
