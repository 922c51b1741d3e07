"""The public ``load``: folders through the gate, in-memory pipelines copied."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, StableDiffusionPipeline
from tokenizers import decoders
from transformers import CLIPTokenizer

import nightlatch
from nightlatch.errors import UnreadableModel
from nightlatch.intake import Refused, stage
from nightlatch.testbed import implant
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.model import loaders


@pytest.fixture
def leading_out(tiny_folder: Path, tmp_path: Path) -> Path:
    """A folder whose text encoder's weights lie elsewhere."""
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    weights = model / "text_encoder/model.safetensors"
    outside = Path(shutil.move(weights, tmp_path / "x.safetensors"))
    table = {"metadata": {}, "weight_map": {"embeddings.token_embedding.weight": str(outside)}}
    (model / "text_encoder/model.safetensors.index.json").write_text(json.dumps(table))
    return model


def test_a_folder_goes_through_the_gate(leading_out, monkeypatch):
    monkeypatch.setattr(loaders, "load", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(Refused, match="shard-path"):
        nightlatch.load(leading_out)


def test_implant_goes_through_the_gate(leading_out, tmp_path, monkeypatch):
    monkeypatch.setattr(loaders, "load", lambda *a, **k: pytest.fail("loaded"))
    attack = ATTACKS.create("rickrolling-prompt", trigger="x", target="a flat cat on a red background")
    with pytest.raises(Refused, match="shard-path"):
        implant.implant(leading_out, tmp_path / "out", attack, 0, print)
    assert not (tmp_path / "out").exists()


def test_an_honest_folder_loads(tiny_folder, tiny_v):
    subject = nightlatch.load(str(tiny_folder))
    assert subject.name == tiny_folder.name
    assert subject.ids(["a red cat"])[0].tolist() == tiny_v.ids(["a red cat"])[0].tolist()


SETTINGS = {
    "a word for masks": {"mask_token": "cat"},
    "a word under another name": {"image_token": "cat"},
    "further words": {"additional_special_tokens": ["cat", "red"]},
    "words by name": {"extra_special_tokens": {"animal": "cat"}},
    "filled up on the left": {"padding_side": "left"},
    "cut on the left": {"truncation_side": "left"},
    "an ending that is a word": {"eos_token": "cat"},
}


@pytest.mark.parametrize("keys", SETTINGS.values(), ids=SETTINGS)
def test_the_staged_tokenizer_is_the_one_that_users_get(keys, tiny_folder, tmp_path):
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    path = model / "tokenizer/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    prompts = ["a red cat", "a cat, a catalogue and a Cat", "red cats " * 40, ""]

    def ids(folder: Path) -> list[list[int]]:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        return tokenizer(prompts, padding="max_length", truncation=True, max_length=16).input_ids

    with stage(model) as staged:
        assert ids(staged.path) == ids(model)
        assert staged.manifest.findings


def test_a_pipeline_in_memory_is_not_changed(tiny_v):
    pipeline = StableDiffusionPipeline(**tiny_v.copy().pipeline.components)
    parts = (pipeline.text_encoder, pipeline.unet, pipeline.vae)
    for part in parts:
        part.train().requires_grad_(True).half()
    subject = nightlatch.load(pipeline)
    for part, mine in zip(parts, (p.module for p in subject.parts.values()), strict=True):
        assert part.training and not mine.training
        assert all(p.requires_grad and p.dtype == torch.float16 for p in part.parameters())
        assert not any(p.requires_grad or p.dtype != torch.float32 for p in mine.parameters())
        assert part is not mine
    assert subject.pipeline.tokenizer is pipeline.tokenizer  # it holds no weights, and nothing changes it


def test_a_pipeline_of_another_class_is_refused(tiny_v):
    with pytest.raises(UnreadableModel, match="DDPMPipeline, which is not supported"):
        nightlatch.load(DDPMPipeline(unet=tiny_v.pipeline.unet, scheduler=tiny_v.pipeline.scheduler))


def test_text_of_tokens_is_read_off_the_vocabulary_whatever_the_decoder_says(tiny_v):
    tokenizer = tiny_v.pipeline.tokenizer
    prompts = ["a cat's café, 12 bus", "миг"]
    ids = [tokenizer(p, add_special_tokens=False).input_ids for p in prompts]
    assert tiny_v.vocabulary.texts(ids) == [t.strip() for t in tokenizer.batch_decode(ids)]
    lying = copy.deepcopy(tokenizer)
    lying.backend_tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace("cat", "dog")]
    )
    suspect = tiny_v.copy()
    suspect.pipeline.tokenizer = lying
    assert lying.decode(ids[0]) != tokenizer.decode(ids[0])
    assert suspect.vocabulary.texts(ids) == tiny_v.vocabulary.texts(ids)
