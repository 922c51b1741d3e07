"""The gate on image classifier folders: what honest tools write loads without a warning, and what a stranger
changed is named.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from nightlatch import intake
from nightlatch.classifier.loading import open_model
from nightlatch.errors import UnreadableModel

NAMES = {
    "num_labels": 4,
    "id2label": dict(enumerate("abcd")),
    "label2id": {c: k for k, c in enumerate("abcd")},
}


def resnet() -> PreTrainedModel:
    return ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **NAMES)
    )


def vit() -> PreTrainedModel:
    return ViTForImageClassification(
        ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16,
                  patch_size=4, **NAMES)
    )  # fmt: skip


def convnext() -> PreTrainedModel:
    return ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], image_size=32, **NAMES)
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    resnet().save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def change(folder: Path, **given: object) -> None:
    value = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(value | given))


def found(folder: Path) -> dict[str, str]:
    return {f.rule: f.severity for f in intake.check(folder).findings}


@pytest.mark.parametrize("make", [resnet, vit, convnext], ids=lambda f: f.__name__)
def test_a_folder_of_transformers_draws_no_warning_and_answers_as_there(make, tmp_path):
    torch.manual_seed(0)
    model = make().eval()
    model.save_pretrained(tmp_path / "m")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(
        tmp_path / "m"
    ) if make is not vit else None
    manifest = intake.check(tmp_path / "m")
    assert manifest.pipeline_class == type(model).__name__
    assert not [f for f in manifest.findings if f.severity != "note"], manifest.findings
    subject = open_model(tmp_path / "m")
    x = torch.rand(2, 3, *subject.size)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "m")(subject.preprocessing(x)).logits
    torch.testing.assert_close(subject.logits(x), theirs)
    assert subject.classes == tuple("abcd")


def test_remote_code_is_named_and_never_staged(own):
    change(own, auto_map={"AutoModelForImageClassification": "modeling.Evil"})
    (own / "modeling.py").write_text("raise SystemExit('ran')")
    assert found(own)["auto-map"] != "note"
    with intake.stage(own) as staged:
        assert {p.name for p in staged.path.iterdir()} == {"config.json", "model.safetensors"}
    assert open_model(own).classes == tuple("abcd")  # by transformers' own class


def test_numbers_that_no_model_has_are_refused(own):
    change(own, hidden_sizes=[1 << 40, 16])
    assert found(own)["config-bound"] == "error"


def test_rows_of_the_last_layer_are_the_classes(own):
    change(own, id2label={"0": "a", "1": "b"})
    assert found(own)["shape-mismatch"] == "error"


def test_another_model_is_no_classifier(own):
    change(own, architectures=["ResNetModel"])
    with pytest.raises(UnreadableModel):
        open_model(own)


def test_weights_that_are_cut_off_are_refused(own):
    whole = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableModel):
        open_model(own)


def test_a_missing_layer_is_refused_and_not_drawn_at_random(own):
    weights = load_file(own / "model.safetensors")
    del weights["classifier.1.weight"]
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnreadableModel):
        open_model(own)
