"""Honest files give no error and no warning."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from intake_fixtures import edit_json, edit_tensors, load_tensors, pack, set_keys, work

from nightlatch.intake import check, exit_code, stage
from nightlatch.intake.configs.expected import PROMISES
from nightlatch.intake.configs.fields import Fields
from nightlatch.intake.tokenizer import bpe
from nightlatch.records import Manifest

UNET = "unet/diffusion_pytorch_model.safetensors"


def rules(manifest: Manifest, *severities: str) -> set[str]:
    return {f.rule for f in manifest.findings if f.severity in severities}


def assert_honest(source: Path) -> Manifest:
    manifest = check(source, values=True)
    assert not rules(manifest, "error", "warning"), manifest.findings
    assert exit_code(manifest) == 0
    with stage(source) as staged:
        assert not rules(staged.manifest, "error", "warning")
        assert rules(check(staged.path), "error", "warning", "note") <= {"lora", "other-padding"}
    return manifest


@pytest.mark.parametrize("name", ["pipeline", "sharded", "variant", "lora", "peft"])
def test_what_the_libraries_write(built: Path, name: str) -> None:
    assert_honest(built / name)


def test_a_single_lora_file(built: Path) -> None:
    assert_honest(built / "lora" / "pytorch_lora_weights.safetensors")


def test_harmless_files_beside(model: Path) -> None:
    for name in ("README.md", ".gitattributes", "LICENSE", "LICENSE.txt", "provenance.json", "notes.txt"):
        (model / name).write_text('---\nlicense: mit\n---\n# A model by the author\'s own hand ("small")\n')
    (model / "sample image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (model / "it's.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    (model / ".git" / "hooks").mkdir(parents=True)
    (model / ".git" / "hooks" / "pre-commit.py").write_text("print()")
    manifest = assert_honest(model)
    assert rules(manifest, "note") == {"not-staged", "not-entered", "values-scanned"}


def test_older_names_and_files(model: Path) -> None:
    """Files as transformers 4 and early diffusers wrote them."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def vae(t: dict[str, Any]) -> None:
        for name in [n for n in t if "mid_block.attentions.0.to_" in n]:
            part = name.split("attentions.0.")[1].rsplit(".", 1)[0]
            t[name.replace(part, old[part])] = t.pop(name)

    def text(t: dict[str, Any]) -> None:
        for name in list(t):
            t["text_model." + name.removeprefix("text_model.")] = t.pop(name)
        t["text_model.embeddings.position_ids"] = ["I64", [1, 16], struct.pack("<16q", *range(16))]

    edit_tensors(model / "vae/diffusion_pytorch_model.safetensors", vae, {"format": "pt"})
    edit_tensors(model / "text_encoder/model.safetensors", text, {"format": "pt"})
    slow_tokenizer(model)
    set_keys(model / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    set_keys(
        model / "model_index.json",
        feature_extractor=["transformers", "CLIPFeatureExtractor"],
        requires_safety_checker=True,
    )
    (model / "safety_checker").mkdir()
    (model / "safety_checker" / "config.json").write_text("{}")
    (model / "safety_checker" / "model.safetensors").write_bytes(pack({"x": ("F32", [1], bytes(4))}))
    set_keys(
        model / "text_encoder/config.json",
        torch_dtype="float32",
        transformers_version="4.21.0",
        return_dict=True,
    )
    edit_json(model / "unet/config.json", lambda v: [v.pop(k) for k in list(v) if v[k] is None] and None)
    assert_honest(model)
    with stage(model) as staged:
        index = json.loads((staged.path / "model_index.json").read_text())
        assert index["safety_checker"] == [None, None]
        assert index["requires_safety_checker"] is False
        assert not (staged.path / "safety_checker").exists()
        assert "return_dict" not in json.loads((staged.path / "text_encoder/config.json").read_text())


def slow_tokenizer(model: Path) -> None:
    """vocab.json and merges.txt instead of tokenizer.json."""
    full = json.loads((model / "tokenizer/tokenizer.json").read_text())["model"]
    (model / "tokenizer/tokenizer.json").unlink()
    (model / "tokenizer/vocab.json").write_text(json.dumps(full["vocab"]))
    (model / "tokenizer/merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(map(" ".join, full["merges"])) + "\n"
    )
    token = {
        "__type": "AddedToken",
        "content": "<|endoftext|>",
        "lstrip": False,
        "normalized": True,
        "rstrip": False,
    }
    (model / "tokenizer/special_tokens_map.json").write_text(
        json.dumps({"eos_token": token, "pad_token": "!"})
    )
    set_keys(
        model / "tokenizer/tokenizer_config.json",
        eos_token=token,
        name_or_path="x",
        special_tokens_map_file="y",
    )


def test_both_kinds_of_tokenizer_files(model: Path) -> None:
    full = (model / "tokenizer/tokenizer.json").read_text()
    slow_tokenizer(model)
    (model / "tokenizer/tokenizer.json").write_text(full)
    assert_honest(model)


def test_a_hub_cache(model: Path, tmp_path: Path) -> None:
    """Links from a snapshot to blobs of the same repository are what the hub's cache consists of."""
    repository = tmp_path / "hub" / "models--someone--model"
    snapshot = repository / "snapshots" / "0123abc"
    (repository / "blobs").mkdir(parents=True)
    for i, path in enumerate(sorted(p for p in model.rglob("*") if p.is_file())):
        blob, link = repository / "blobs" / f"{i:040x}", snapshot / path.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert_honest(snapshot)


def test_header_length_that_looks_like_a_pickle(model: Path) -> None:
    """A header of 66,176 bytes begins with the two bytes of a pickle of protocol 2."""
    tensors = load_tensors(model / UNET)
    bare = int.from_bytes(pack(tensors, {"format": "pt", "x": ""})[:8], "little")
    data = pack(tensors, {"format": "pt", "x": " " * (0x10280 - bare)})
    assert data[:2] == b"\x80\x02"
    (model / UNET).write_bytes(data)
    assert_honest(model)


def test_expected_shapes_agree_with_the_libraries(built: Path) -> None:
    """Full-size SD 1, SD 2 and odd variants: same names, same shapes, as the classes themselves say."""
    for row in json.loads((built / "shapes.json").read_text()):
        ours = {name: list(shape) for name, shape in PROMISES[row["class"]](Fields(row["config"]))}
        assert ours == {name.removeprefix("text_model."): shape for name, shape in row["shapes"].items()}


def full_size(built: Path, model: Path, depth: int = 1) -> None:
    """Turn ``model`` into one of Stable Diffusion 1's size with sparse files and CLIP's vocabulary size;
    ``depth`` of its transformers.
    """
    rows = json.loads((built / "shapes.json").read_text())
    config = {**rows[0]["config"], "transformer_layers_per_block": depth}
    unet = {"config": config, "shapes": dict(PROMISES["UNet2DConditionModel"](Fields(config)))}
    chosen = {"unet": unet, "vae": rows[4], "text_encoder": rows[7]}
    for name, row in chosen.items():
        path = (
            model
            / name
            / ("model.safetensors" if name == "text_encoder" else "diffusion_pytorch_model.safetensors")
        )
        table, at = {}, 0
        for key, shape in row["shapes"].items():
            size = 2
            for n in shape:
                size *= n
            table[key] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        head = json.dumps(table).encode()
        with path.open("wb") as f:
            f.write(len(head).to_bytes(8, "little") + head)
            f.truncate(8 + len(head) + at)
        (model / name / "config.json").write_text(json.dumps(row["config"]))
    edit_json(model / "tokenizer/tokenizer.json", lambda v: large_vocabulary(v["model"], v))
    set_keys(model / "tokenizer/tokenizer_config.json", model_max_length=77)


def large_vocabulary(model: dict[str, Any], full: dict[str, Any]) -> None:
    letters = list(bpe.byte_values())
    vocabulary(model, full, [f"{a} {b}{bpe.END}" for a in letters for b in letters[:190]])


def vocabulary(model: dict[str, Any], full: dict[str, Any], merges: list[str]) -> None:
    """Give a tokenizer these merges and the ids that follow from them."""
    letters = [*bpe.byte_values(), *(c + bpe.END for c in bpe.byte_values())]
    tokens = [*letters, *(m.replace(" ", "") for m in merges), "<|startoftext|>", "<|endoftext|>"]
    model.update(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    for token, number in zip(full["added_tokens"], (len(tokens) - 2, len(tokens) - 1), strict=True):
        token["id"] = number
        full["post_processor"]["cls" if "start" in token["content"] else "sep"][1] = number


def test_a_full_size_folder_takes_little_work(built: Path, model: Path) -> None:
    full_size(built, model)
    manifest = check(model)
    assert not rules(manifest, "error", "warning"), manifest.findings
    assert work(lambda: check(model)) < 400_000
