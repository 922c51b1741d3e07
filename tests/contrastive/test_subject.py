"""Model folders: what transformers saves loads again with the same embeddings, and OpenCLIP's names give the
same network.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nightlatch import intake
from nightlatch.contrastive import adapters, openclip
from nightlatch.contrastive.subject import to_pixels
from nightlatch.errors import NotWritten, UnreadableModel


def embeddings(subject, pairs):
    return subject.embed_images(pairs.images), subject.embed_texts(pairs.captions)


@pytest.mark.parametrize("kind", ["tiny_clip", "tiny_siglip"])
def test_a_saved_folder_loads_as_the_same_model(kind, some_pairs, tmp_path, request):
    subject = request.getfixturevalue(kind)
    subject.save(tmp_path / "model")
    again = adapters.load(tmp_path / "model")
    for mine, theirs in zip(embeddings(subject, some_pairs), embeddings(again, some_pairs), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.allclose(mine.norm(dim=1), torch.ones(len(mine)), atol=1e-5)
    assert again.kind == subject.kind
    with pytest.raises(NotWritten, match="there already"):
        subject.save(tmp_path / "model")


def test_embeddings_are_transformers_own(tiny_clip, some_pairs):
    x = (to_pixels(some_pairs.images) - 0.5) / 0.5
    out = tiny_clip.model(input_ids=tiny_clip.ids(some_pairs.captions), pixel_values=x)
    image, text = embeddings(tiny_clip, some_pairs)
    assert torch.allclose(image, out.image_embeds, atol=1e-5)
    assert torch.allclose(text, out.text_embeds, atol=1e-5)
    assert torch.allclose(tiny_clip.scale * image @ text.T, out.logits_per_image, atol=1e-3)


def test_siglip_logits_are_transformers_own(tiny_siglip, some_pairs):
    x = (to_pixels(some_pairs.images) - 0.5) / 0.5
    out = tiny_siglip.model(input_ids=tiny_siglip.ids(some_pairs.captions), pixel_values=x)
    image, text = embeddings(tiny_siglip, some_pairs)
    assert torch.allclose(
        tiny_siglip.scale * image @ text.T + tiny_siglip.bias, out.logits_per_image, atol=1e-4
    )


def as_open_clip(subject, folder):
    """The same network as OpenCLIP writes it; made by reading the table of names backwards."""
    state = subject.model.state_dict()
    made = {}
    for theirs, ours in openclip.OUTSIDE.items():
        made[theirs] = state[ours]
    for theirs, ours in openclip.TURNED.items():
        made[theirs] = state[ours].T.contiguous()
    for tower, head in (("vision_model", "visual."), ("text_model", "")):
        layers = getattr(subject.model.config, "vision_config" if head else "text_config").num_hidden_layers
        for i in range(layers):
            place, block = f"{tower}.encoder.layers.{i}.", f"{head}transformer.resblocks.{i}."
            for kind, name in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
                made[f"{block}attn.{name}"] = torch.cat(
                    [state[f"{place}self_attn.{p}_proj.{kind}"] for p in "qkv"]
                )
            for theirs, ours in openclip.IN_BLOCK.items():
                for kind in ("weight", "bias"):
                    made[f"{block}{theirs}.{kind}"] = state[f"{place}{ours}.{kind}"]
    folder.mkdir()
    save_file({k: v.contiguous().clone() for k, v in made.items()}, folder / openclip.WEIGHTS)
    vision, text = subject.model.config.vision_config, subject.model.config.text_config
    config = {
        "model_cfg": {
            "embed_dim": 32, "quick_gelu": True,
            "vision_cfg": {"image_size": 16, "layers": vision.num_hidden_layers, "width": 32, "patch_size": 4, "head_width": 32},
            "text_cfg": {"context_length": 16, "vocab_size": text.vocab_size, "width": 32, "heads": 1, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }  # fmt: skip
    (folder / openclip.CONFIG).write_text(json.dumps(config))
    subject.tokenizer.save_pretrained(folder)
    return folder


def test_open_clip_folder_is_the_same_network(tiny_clip, some_pairs, tmp_path):
    again = adapters.load(as_open_clip(tiny_clip, tmp_path / "open"))
    for mine, theirs in zip(embeddings(tiny_clip, some_pairs), embeddings(again, some_pairs), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_the_gate_takes_an_open_clip_folder_without_a_warning(tiny_clip, some_pairs, tmp_path):
    folder = as_open_clip(tiny_clip, tmp_path / "open")
    manifest = intake.check(folder)
    assert manifest.pipeline_class == "CLIPModel"
    assert not [f for f in manifest.findings if f.severity != "note"], manifest.findings
    with intake.stage(folder) as staged:
        again = adapters.load(staged.path)
    assert torch.equal(
        again.embed_images(some_pairs.images), adapters.load(folder).embed_images(some_pairs.images)
    )


@pytest.mark.parametrize(
    ("tower", "value", "rule"),
    [
        ("vision_cfg", {"width": 1 << 30}, "config-bound"),
        ("text_cfg", {"layers": 0}, "config-value"),
        ("text_cfg", {"heads": "one"}, "config-value"),
        ("text_cfg", {"vocab_size": 5}, "shape-mismatch"),
    ],
)
def test_the_gate_refuses_an_open_clip_config_that_makes_no_sense(tiny_clip, tmp_path, tower, value, rule):
    folder = as_open_clip(tiny_clip, tmp_path / "open")
    config = json.loads((folder / openclip.CONFIG).read_text())
    config["model_cfg"][tower] |= value
    (folder / openclip.CONFIG).write_text(json.dumps(config))
    assert {f.rule: f.severity for f in intake.check(folder).findings}.get(rule) == "error"
    with pytest.raises(intake.Refused), intake.stage(folder):
        pass


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("vision_cfg", {"timm_model_name": "convnext"}, "timm_model_name"),
        ("text_cfg", {"hf_model_name": "roberta"}, "hf_model_name"),
    ],
)
def test_an_architecture_that_is_not_known_is_named(tiny_clip, tmp_path, where, value, said):
    folder = as_open_clip(tiny_clip, tmp_path / "open")
    config = json.loads((folder / openclip.CONFIG).read_text())
    config["model_cfg"][where] |= value
    (folder / openclip.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UnreadableModel, match=said):
        adapters.load(folder)


def test_a_missing_weight_is_not_made_up(tiny_clip, tmp_path):
    tiny_clip.save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    del tensors["visual_projection.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UnreadableModel, match="visual_projection"):
        adapters.load(tmp_path / "model")


@pytest.mark.parametrize("content", ["{", '{"model_type": "bert"}', "[]"])
def test_another_kind_of_folder_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UnreadableModel):
        adapters.load(tmp_path)


def test_a_copy_has_weights_of_its_own(tiny_clip):
    made = tiny_clip.copy()
    with torch.no_grad():
        next(made.model.parameters()).add_(1)
    assert not torch.equal(next(made.model.parameters()), next(tiny_clip.model.parameters()))
