"""A classifier is the same thing as a module, as a transformers folder and as an ONNX file; what does not fit
is refused in one sentence.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nightlatch.classifier import victims
from nightlatch.classifier.loading import open_model, save_model
from nightlatch.classifier.onnx import OnnxSubject
from nightlatch.classifier.subject import Preprocessing, TorchSubject
from nightlatch.errors import UnreadableModel, UsageError


def test_a_resnet_is_tapped_at_each_resolution_and_a_vit_at_each_third(blank):
    assert blank().taps == ("stages.0", "stages.1", "stages.2")
    vit = victims.vit_tiny(("a", "b"), 16, 4, 24, 6)
    assert vit.taps == ("vit.layers.1", "vit.layers.3", "vit.layers.5")
    assert vit.look(torch.zeros(2, 3, 16, 16)).stages().shape == (2, 4 * 24)


def test_the_feature_vector_is_what_the_last_layer_reads(clean, test):
    seen = clean.look(test.pictures[:5])
    torch.testing.assert_close(clean.module.classifier(seen.vector), seen.logits)
    torch.testing.assert_close(seen.vector, seen.maps[-1].mean((2, 3)))


def test_bytes_and_fractions_are_the_same_pictures(clean, test):
    few = test.pictures[:4]
    torch.testing.assert_close(clean.logits(few), clean.logits(few.float() / 255))


def test_pictures_of_another_size_are_fitted(clean):
    assert clean.logits(torch.zeros(2, 3, 40, 24)).shape == (2, 3)


def test_a_named_part_that_is_not_there_is_refused(clean):
    with pytest.raises(UsageError, match=r"no part 'stages\.9'"):
        TorchSubject(clean.module, clean.preprocessing, clean.classes, taps=["stages.9"])


def test_a_module_without_a_head_for_its_classes_is_refused(clean):
    with pytest.raises(UsageError, match="no linear layer with 7 outputs"):
        TorchSubject(clean.module, clean.preprocessing, list("abcdefg"))


@pytest.mark.parametrize("make", [victims.resnet, victims.vit_tiny])
def test_a_folder_gives_back_what_was_written(make, tmp_path, test):
    subject = make(("left", "middle", "right"), 16)
    save_model(subject, tmp_path / "model", provenance="{}")
    read = open_model(tmp_path / "model")
    assert read.classes == subject.classes
    assert read.fingerprint == subject.fingerprint
    torch.testing.assert_close(read.logits(test.pictures[:3]), subject.logits(test.pictures[:3]))
    with pytest.raises(UsageError, match="there already"):
        save_model(subject, tmp_path / "model")


@pytest.mark.parametrize("kind", ["ConvNextForImageClassification", "ResNetForImageClassification"])
def test_stock_transformers_models_are_read(kind, tmp_path):
    import transformers

    config = {
        "ConvNextForImageClassification": lambda: transformers.ConvNextConfig(
            hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=4
        ),
        "ResNetForImageClassification": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=4, layer_type="basic"
        ),
    }[kind]()
    getattr(transformers, kind)(config).save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "preprocessor_config.json").write_text(
        json.dumps({"size": {"shortest_edge": 48}, "image_mean": [0.1] * 3})
    )
    subject = open_model(tmp_path / "m")
    assert subject.size == (48, 48)
    seen = subject.look(torch.rand(2, 3, 48, 48))
    assert seen.logits.shape == (2, 4)
    assert len(seen.maps) >= 2


def test_a_folder_that_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(UnreadableModel, match="no model folder"):
        open_model(tmp_path / "nothing")
    folder = tmp_path / "m"
    folder.mkdir()
    with pytest.raises(UnreadableModel, match="there is no model in it"):
        open_model(folder)
    (folder / "config.json").write_text('{"model_type": "vit", "model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UnreadableModel, match="names the same key twice"):
        open_model(folder)
    (folder / "config.json").write_text(
        '{"model_type": "vit", "architectures": ["ViTForImageClassification"]}'
    )
    with pytest.raises(UnreadableModel, match="is a text, not a model"):
        open_model(folder)


def test_weights_as_pickle_are_not_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["ViTForImageClassification"]}')
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnreadableModel, match="The weights are a pickle"):
        open_model(tmp_path)


def onnx_file(path, weight: np.ndarray) -> None:
    """Mean colour of a picture ("pooled") times ``weight`` ("logits")."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", weight.shape[1]]),
        helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", 3, 1, 1]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_an_onnx_file_is_run_as_it_stands(tmp_path):
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    onnx_file(tmp_path / "m.onnx", weight)
    subject = OnnxSubject(tmp_path / "m.onnx", Preprocessing(size=(8, 8)), "pooled")
    x = torch.rand(5, 3, 8, 8)
    seen = subject.look(x)
    torch.testing.assert_close(seen.vector, (x * 2 - 1).mean((2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen.logits, seen.vector @ torch.from_numpy(weight), atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match="no gradients"):
        subject.logits(x.requires_grad_(True))
    with pytest.raises(UsageError, match="no output 'deep'"):
        OnnxSubject(tmp_path / "m.onnx", Preprocessing(size=(8, 8)), "deep")
    (tmp_path / "bad.onnx").write_bytes(b"\x00" * 40)
    with pytest.raises(UnreadableModel, match="no ONNX model"):
        OnnxSubject(tmp_path / "bad.onnx", Preprocessing(size=(8, 8)), "pooled")
