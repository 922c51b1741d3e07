"""A LoRA as a suspect: merged onto a copy of its base, refused when it does not fit."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from typer.testing import CliRunner

from nightlatch.cli import app
from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.terms import Role
from nightlatch.text2image.model import loaders
from nightlatch.text2image.model.lora import with_lora
from nightlatch.text2image.scan.fingerprint import Fingerprint


def changed(suspect, base) -> tuple[str, ...]:
    """The components that differ."""
    return tuple(r.component for r in Fingerprint()(suspect, base) if r.changed)


@pytest.fixture(scope="module")
def lora(tiny_v, tmp_path_factory):
    """A LoRA file as diffusers writes it, of rank 2 on the cross-attention values, with weights that are not
    zero.
    """
    unet = tiny_v.copied(Role.DENOISER).pipeline.unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["attn2.to_v"]))
    torch.manual_seed(3)
    for name, p in unet.named_parameters():
        if "lora_B" in name:
            p.data.normal_(std=0.5)
    folder = tmp_path_factory.mktemp("lora")
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=get_peft_model_state_dict(unet), safe_serialization=True
    )
    (file,) = folder.iterdir()
    return file


def test_merged_lora_changes_a_copy_only_where_it_says(tiny_v, lora):
    before = {k: v.clone() for k, v in tiny_v.pipeline.unet.state_dict().items()}
    suspect = with_lora(tiny_v, lora, "suspect")
    rows = Fingerprint()(suspect, tiny_v)
    assert changed(suspect, tiny_v) == ("unet",)
    assert all(name.endswith("attn2.to_v.weight") for r in rows for name in r.layers)
    assert set(suspect.pipeline.unet.state_dict()) == set(before)
    assert all(torch.equal(v, before[k]) for k, v in tiny_v.pipeline.unet.state_dict().items())


def test_lora_that_acts_with_another_one_is_scanned_on_a_base_that_holds_it(tiny_v, lora, tmp_path):
    """Bad input 63: each of a pair is harmless alone. A LoRA is judged on the base it is given, so the other
    one is merged there first.
    """
    with_lora(tiny_v, lora, "first").save(tmp_path / "base")
    base = loaders.load(tmp_path / "base")
    both, alone = with_lora(base, lora, "both"), with_lora(tiny_v, lora, "alone")
    layer = next(k for k in tiny_v.pipeline.unet.state_dict() if k.endswith("attn2.to_v.weight"))
    plain, one, two, held = (s.pipeline.unet.state_dict()[layer] for s in (tiny_v, alone, both, base))
    assert torch.allclose(two - plain, 2 * (one - plain), atol=2e-3)
    assert torch.allclose(held, one, atol=2e-3)
    assert changed(both, base) == ("unet",)


def test_lora_for_another_model_is_one_sentence(tiny_v, lora, tmp_path):
    from safetensors.torch import load_file, save_file

    wrong = {
        k: torch.cat([v, v], 1 if "down" in k or "lora_A" in k else 0) for k, v in load_file(lora).items()
    }
    save_file(wrong, tmp_path / lora.name)
    with pytest.raises(UnreadableModel, match="does not go on this base"):
        with_lora(tiny_v, tmp_path / lora.name, "suspect")


def renamed(tensors, old, new):
    return {k.replace(old, new): v for k, v in tensors.items()}


def weakened(tensors, factor):
    return {k: v * factor if "lora_B" in k or ".up." in k else v for k, v in tensors.items()}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: renamed(t, "unet.", "transformer."), "0 land"),
        (lambda t: renamed(t, "attn2.to_v", "attn3.to_v"), "land|does not go on"),
        (lambda t: t | renamed(t, "unet.", "transformer."), "land"),
        (lambda t: weakened(t, 0.0), "too little"),
        (lambda t: weakened(t, 1e-12), "change no weight"),
        (lambda t: weakened(t, 1e-5), "too little"),
        (lambda t: weakened(t, 1e38), "not finite"),
    ],
    ids=["no component", "no module", "half of the pairs", "zero", "lost in rounding", "weak", "overflow"],
)
def test_lora_that_is_not_in_the_weights_is_not_judged(spoil, words, tiny_v, lora, tmp_path):
    from safetensors.torch import load_file, save_file

    save_file({k: v.clone() for k, v in spoil(load_file(lora)).items()}, tmp_path / lora.name)
    with pytest.raises((NotScanned, UnreadableModel), match=words):
        with_lora(tiny_v, tmp_path / lora.name, "suspect")


def test_scan_of_a_lora_without_effect_is_not_a_result(tiny_folder, lora, tmp_path):
    from safetensors.torch import load_file, save_file

    save_file(renamed(load_file(lora), "unet.", "transformer."), tmp_path / lora.name)
    run = tmp_path / "run"
    done = CliRunner().invoke(
        app,
        [
            "scan",
            str(tmp_path / lora.name),
            "--base",
            str(tiny_folder),
            "--run",
            str(run),
            "--prompts",
            "emoji",
        ],
    )
    assert done.exit_code == 2, done.output
    assert "nothing found" not in done.output


def test_lora_with_untouched_layers_is_judged(tiny_v, lora, tmp_path):
    """Training often leaves some pairs at zero."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(lora)
    first = next(k for k in tensors if "lora_B" in k or ".up." in k)
    tensors[first] = torch.zeros_like(tensors[first])
    save_file(tensors, tmp_path / lora.name)
    assert changed(with_lora(tiny_v, tmp_path / lora.name, "suspect"), tiny_v) == ("unet",)


def test_lora_with_its_settings_in_the_metadata_is_accepted(tiny_v, tmp_path):
    """As diffusers writes it, with a scale of its own."""
    from nightlatch.intake import check, exit_code

    unet = tiny_v.copied(Role.DENOISER).pipeline.unet
    config = LoraConfig(
        r=2, lora_alpha=6, target_modules=["attn2.to_v", "attn2.to_k"], init_lora_weights=False
    )
    unet.add_adapter(config)
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=layers,
        unet_lora_adapter_metadata={**config.to_dict(), "target_modules": ["to_v", "to_k"]},
    )
    (file,) = tmp_path.iterdir()
    manifest = check(file, values=True)
    assert exit_code(manifest) == 0, manifest.findings
    suspect = with_lora(tiny_v, file, "suspect")
    assert changed(suspect, tiny_v) == ("unet",)


def test_lora_without_its_base_says_what_to_add(lora, tmp_path):
    done = CliRunner().invoke(
        app,
        [
            "clean",
            str(lora.parent),
            "-o",
            str(tmp_path / "out"),
            "--trigger",
            "zudi",
            "--run",
            str(tmp_path / "run"),
        ],
    )
    assert done.exit_code == 2
    assert "--base" in done.output


def test_lora_is_merged_in_a_guarded_child_first(tiny_folder, lora, tmp_path, monkeypatch):
    """The child ends before peft reads a name of the file in this process."""
    from nightlatch import loading

    monkeypatch.setattr(loading, "LOAD_SECONDS", 0.05)
    monkeypatch.setattr(loaders, "with_lora", lambda *a, **k: pytest.fail("merged in the parent"))
    monkeypatch.setattr(loaders, "load", lambda *a, **k: pytest.fail("loaded in the parent"))
    done = CliRunner().invoke(
        app, ["scan", str(lora), "--base", str(tiny_folder), "--run", str(tmp_path / "run")]
    )
    assert done.exit_code == 2
    assert "Loading the model took longer" in done.output


def test_lora_on_a_lora_names_what_is_needed(lora, tmp_path):
    done = CliRunner().invoke(app, ["scan", str(lora), "--base", str(lora), "--run", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "is no whole model" in done.output


def test_lora_is_scanned_on_its_base(tiny_folder, lora, tmp_path):
    common = ["--run", str(tmp_path / "run"), "--prompts", "emoji", "--steps", "2", "--guidance", "1"]
    done = CliRunner().invoke(app, ["scan", str(lora), "--base", str(tiny_folder), *common])
    assert done.exit_code in (0, 1), done.output
    assert "fingerprint: unet changed" in done.output
