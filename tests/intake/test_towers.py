"""The gate on image-text model folders: honest ones load, and what a stranger changed is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nightlatch import intake
from nightlatch.contrastive import adapters
from nightlatch.testbed import pairclip

SHAPE = pairclip.Shape(
    size=16, patch=4, width=32, layers=1, text_width=32, text_layers=1, joint=16, tokens=16
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("towers") / "clip"
    pairclip.fresh(SHAPE, 0).save(made)
    return made


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    made = tmp_path / "clip"
    made.mkdir()
    for file in folder.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    return made


def change(folder: Path, name: str, **given: object) -> None:
    value = json.loads((folder / name).read_text())
    for path, new in given.items():
        inner = value
        *outer, last = path.split("__")
        for key in outer:
            inner = inner[key]
        inner[last] = new
    (folder / name).write_text(json.dumps(value))


def found(folder: Path) -> dict[str, str]:
    return {f.rule: f.severity for f in intake.check(folder).findings}


def test_a_folder_of_transformers_draws_no_warning_and_is_staged_whole(folder):
    manifest = intake.check(folder)
    assert manifest.pipeline_class == "CLIPModel"
    assert not [f for f in manifest.findings if f.severity != "note"], manifest.findings
    with intake.stage(folder) as staged:
        subject = adapters.load(staged.path)
        assert torch.equal(subject.embed_texts(["a cat"]), adapters.load(folder).embed_texts(["a cat"]))


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"text_config__hidden_size": 1 << 20}, "config-bound"),
        ({"vision_config__num_hidden_layers": 0}, "config-value"),
        ({"vision_config__patch_size": "four"}, "config-value"),
        ({"text_config": None}, "config-value"),
        ({"text_config__vocab_size": 99}, "shape-mismatch"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(own, given, rule):
    change(own, "config.json", **given)
    assert found(own).get(rule) == "error"
    with pytest.raises(intake.Refused), intake.stage(own):
        pass


def test_code_for_the_tokenizer_or_the_pictures_is_named(own):
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        change(own, name, auto_map={"AutoTokenizer": "evil.Tokenizer"})
    assert found(own).get("auto-map") == "warning"


def test_a_cut_file_a_pickle_and_a_missing_table_are_named(own):
    weights = own / "model.safetensors"
    tensors = load_file(weights)
    (own / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    assert found(own).get("unused-pickle") == "warning"
    save_file(
        {k: v for k, v in tensors.items() if "token_embedding" not in k}, weights, metadata={"format": "pt"}
    )
    assert found(own).get("missing-keys") == "error"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "error" in found(own).values()


def test_no_tokenizer_is_no_model(own):
    for name in ("tokenizer.json", "vocab.json"):
        (own / name).unlink(missing_ok=True)
    assert found(own).get("tokenizer-missing") == "error"
