"""What a model is more than its base, written as a LoRA."""

from __future__ import annotations

import pytest
import torch

from nightlatch.classifier.family import FAMILY as CLASSIFIERS
from nightlatch.errors import NotWritten, UsageError
from nightlatch.terms import Role
from nightlatch.text2image.family import FAMILY
from nightlatch.text2image.model.change import change, factors, save_change
from nightlatch.text2image.model.lora import with_lora
from nightlatch.verbs.clean import write


@pytest.fixture(scope="module")
def changed(tiny_v):
    """A model whose values of cross-attention and one convolution differ from ``tiny_v``'s by low rank."""
    made = tiny_v.copied(Role.DENOISER)
    generator = torch.Generator().manual_seed(0)
    for name, p in made.modules(Role.DENOISER)[0].named_parameters():
        if name.endswith("attn2.to_v.weight"):
            a, b = (torch.randn(s, generator=generator) for s in ((2, p.shape[1]), (p.shape[0], 2)))
            p.data += 0.1 * b @ a
    return made


def test_a_change_written_and_merged_again_is_the_same_model(tiny_v, changed, tmp_path):
    save_change(changed, tiny_v, tmp_path / "made.safetensors")
    again = with_lora(tiny_v, tmp_path / "made.safetensors", "again")
    pairs = zip(
        *(dict(s.modules(Role.DENOISER)[0].named_parameters()).items() for s in (changed, again)), strict=True
    )
    for (name, w), (_, merged) in pairs:
        torch.testing.assert_close(merged, w, atol=5e-3, rtol=5e-3, msg=name)
    assert [p.name for p in tmp_path.iterdir()] == ["made.safetensors"]


def test_only_what_differs_is_held_at_its_own_rank(tiny_v, changed):
    pairs = change(changed, tiny_v)
    assert all("attn2.to_v" in name for name in pairs)
    assert {pair.shape[0] for name, pair in pairs.items() if "lora_A" in name} == {2}


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_factors_give_the_matrix_back(shape):
    d = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    down, up = factors(d)
    made = up.flatten(1) @ down.flatten(1)
    torch.testing.assert_close(made.reshape(shape), d, atol=1e-3, rtol=1e-3)


def test_what_a_lora_cannot_hold_is_said_and_nothing_is_left(tiny_v, changed, tmp_path):
    other = changed.copied(Role.DENOISER)
    other.modules(Role.DENOISER)[0].conv_in.bias.data += 1
    for made, words in ((other, "conv_in.bias"), (tiny_v, "Nothing is left")):
        with pytest.raises(NotWritten, match=words):
            save_change(made, tiny_v, tmp_path / "made.safetensors")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    with pytest.raises(NotWritten, match="already"):
        save_change(changed, tiny_v, tmp_path / "there.safetensors")
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"


def test_clean_writes_a_lora_where_the_output_is_named_so(tiny_v, changed, tmp_path):
    write(FAMILY, changed, tiny_v, tmp_path / "made.safetensors")
    write(FAMILY, changed, tiny_v, tmp_path / "folder")
    assert (tmp_path / "made.safetensors").is_file()
    assert (tmp_path / "folder" / "model_index.json").is_file()
    with pytest.raises(UsageError, match="no adapters"):
        write(CLASSIFIERS, changed, tiny_v, tmp_path / "another.safetensors")
