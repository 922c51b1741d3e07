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
from nightlatch.intake.staging.private import NotSupported
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


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("kind", ["string_to_param.*", "clip_l", "emb_params"])
def test_words_that_are_bundled_with_an_adapter_are_read(
    tiny_v: StableDiffusion, tiny_folder: Path, tmp_path: Path, kind: str, vectors: int
) -> None:
    """As diffusers' own pipeline reads them, from the file to the states; nothing of the base is changed."""
    path, _ = saved(tiny_v, tmp_path / "adapter.safetensors", "loha")
    rows = torch.randn(vectors, tiny_v.pipeline.text_encoder.config.hidden_size)
    held = {**load_file(path), f"bundle_emb.zorblax.{kind}": rows}
    save_file(held, path)
    found = check(path)
    assert exit_code(found) == 2
    assert [h.texts for h in found.hints] == [("zorblax",)]
    before = len(tiny_v.pipeline.tokenizer)
    with stage(path) as staged, stage(tiny_folder) as base:
        made = loaders.load_staged(staged.path, base.path)
    assert len(tiny_v.pipeline.tokenizer) == before
    text = "a zorblax in the snow"
    stock = made.pipeline.encode_prompt(text, "cpu", 1, False)[0]
    assert torch.equal(made.read([text]).states, stock)
    new = torch.arange(before, before + vectors)
    assert torch.equal(made.pipeline.text_encoder.get_input_embeddings().weight[new], rows)
    ids = made.ids([text])[0]
    assert [i for i in ids[0].tolist() if i >= before] == new.tolist()
    assert made.vocabulary.typed([text])[0] == tuple(
        ids[0, 1 : 1 + len(made.vocabulary.typed([text])[0])].tolist()
    )


@pytest.mark.parametrize(
    ("word", "width", "said"), [("zorblax", 7, "width"), ("<|endoftext|>", 0, "bundled"), ("x", 0, "bundled")]
)
def test_words_that_do_not_fit_are_said(
    tiny_v: StableDiffusion, tmp_path: Path, word: str, width: int, said: str
) -> None:
    path, _ = saved(tiny_v, tmp_path / "a.safetensors", "loha")
    rows = torch.randn(1, width or tiny_v.pipeline.text_encoder.config.hidden_size)
    save_file({**load_file(path), f"bundle_emb.{word}.clip_l": rows}, path)
    with pytest.raises(UnreadableModel, match=said):
        with_adapter(tiny_v, path, "x")


def test_embeddings_for_two_encoders_are_named_and_not_merged(
    tiny_v: StableDiffusion, tmp_path: Path
) -> None:
    path, _ = saved(tiny_v, tmp_path / "a.safetensors", "loha")
    both = {f"bundle_emb.zorblax.{n}": torch.randn(1, w) for n, w in (("clip_l", 768), ("clip_g", 1280))}
    save_file({**load_file(path), **both}, path)
    found = check(path)
    assert [f.rule for f in found.findings if f.rule.startswith("unsupp")] == ["unsupported-layout"]
    with pytest.raises(NotSupported, match="bundled"), stage(path):
        pass
