"""Adapters that diffusers cannot load are merged whole into the base, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lycoris import LycorisNetwork, create_lycoris
from safetensors.torch import load_file, save_file

from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.intake import check, exit_code, stage
from nightlatch.intake.adapters.lora import OTHER_TARGET
from nightlatch.text2image.model import loaders
from nightlatch.text2image.model.adapter import with_adapter
from nightlatch.text2image.model.stable_diffusion import StableDiffusion


def saved(subject: StableDiffusion, path: Path, algo: str) -> tuple[Path, dict[str, torch.Tensor]]:
    """An adapter as LyCORIS trains and saves it, and the UNet's weights as LyCORIS itself merges them."""
    made = subject.copied()
    unet = made.pipeline.unet
    LycorisNetwork.apply_preset({"target_module": ["Attention"]})
    torch.manual_seed(0)
    network = create_lycoris(unet, 1.0, linear_dim=4, linear_alpha=4.0, algo=algo)
    network.apply_to()
    for value in network.parameters():
        value.data += 0.05 * torch.randn_like(value)
    network.save_weights(str(path), torch.float32, {})
    network.restore()
    network.merge_to(1.0)
    return path, {k: v.detach().clone() for k, v in unet.state_dict().items() if "lycoris" not in k}


@pytest.mark.parametrize("algo", ["loha", "lokr", "full", "diag-oft", "boft", "glora"])
def test_an_adapter_from_the_file_to_the_subject(
    tiny_v: StableDiffusion, tiny_folder: Path, tmp_path: Path, algo: str
) -> None:
    path, wanted = saved(tiny_v, tmp_path / "adapter.safetensors", algo)
    assert exit_code(check(path)) == 2
    with stage(path) as staged, stage(tiny_folder) as base:
        assert (staged.path / OTHER_TARGET).is_file()
        loaded = loaders.load_staged(staged.path, base.path)
    merged = with_adapter(tiny_v, path, "x")
    for made in (merged, loaded):
        state = made.pipeline.unet.state_dict()
        assert (
            max(float((state[k] - tiny_v.pipeline.unet.state_dict()[k]).abs().max()) for k in wanted) > 1e-3
        )
    state = merged.pipeline.unet.state_dict()
    assert all(torch.allclose(state[k], v, atol=1e-5) for k, v in wanted.items())


def test_an_adapter_for_another_model_is_not_merged(tiny_v: StableDiffusion, tmp_path: Path) -> None:
    path, _ = saved(tiny_v, tmp_path / "a.safetensors", "loha")
    other = {k.replace("down_blocks", "further_blocks"): v for k, v in load_file(path).items()}
    save_file(other, tmp_path / "b.safetensors")
    with pytest.raises(UnreadableModel, match="no place"):
        with_adapter(tiny_v, tmp_path / "b.safetensors", "x")


def test_an_adapter_that_changes_nothing_is_not_judged(tiny_v: StableDiffusion, tmp_path: Path) -> None:
    path, _ = saved(tiny_v, tmp_path / "a.safetensors", "loha")
    save_file(
        {k: torch.zeros_like(v) if "hada" in k else v for k, v in load_file(path).items()},
        tmp_path / "b.safetensors",
    )
    with pytest.raises(NotScanned, match="too little"):
        with_adapter(tiny_v, tmp_path / "b.safetensors", "x")
