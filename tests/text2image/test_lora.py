"""A LoRA as a suspect: merged onto a copy of its base, refused when it does not fit."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from typer.testing import CliRunner

from nightlatch.cli import app
from nightlatch.errors import UnreadableModel
from nightlatch.text2image import adapters
from nightlatch.text2image.scan.fingerprint import changed_components, fingerprint


@pytest.fixture(scope="module")
def lora(tiny_v, tmp_path_factory):
    """A LoRA file as diffusers writes it, of rank 2 on the cross-attention values, with weights that are not zero."""
    unet = tiny_v.copy("unet").unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["attn2.to_v"]))
    torch.manual_seed(3)
    for name, p in unet.named_parameters():
        if "lora_B" in name:
            p.data.normal_(std=0.5)
    folder = tmp_path_factory.mktemp("lora")
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet), safe_serialization=True)
    (file,) = folder.iterdir()
    return file


def test_merged_lora_changes_a_copy_only_where_it_says(tiny_v, lora):
    before = {k: v.clone() for k, v in tiny_v.unet.state_dict().items()}
    suspect = adapters.with_lora(tiny_v, lora, "suspect")
    rows = fingerprint(suspect, tiny_v)
    assert changed_components(rows) == ("unet",)
    assert all(name.endswith("attn2.to_v.weight") for r in rows for name in r.layers)
    assert set(suspect.unet.state_dict()) == set(before)
    assert all(torch.equal(v, before[k]) for k, v in tiny_v.unet.state_dict().items())


def test_lora_for_another_model_is_one_sentence(tiny_v, lora, tmp_path):
    from safetensors.torch import load_file, save_file

    wrong = {k: torch.cat([v, v], 1 if "down" in k or "lora_A" in k else 0) for k, v in load_file(lora).items()}
    save_file(wrong, tmp_path / lora.name)
    with pytest.raises(UnreadableModel, match="does not go on this base"):
        adapters.with_lora(tiny_v, tmp_path / lora.name, "suspect")


def test_lora_without_its_base_says_what_to_add(lora, tmp_path):
    done = CliRunner().invoke(
        app, ["clean", str(lora.parent), "-o", str(tmp_path / "out"), "--trigger", "zudi", "--run", str(tmp_path / "run")]
    )
    assert done.exit_code == 2
    assert "--base" in done.output
