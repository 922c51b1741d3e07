"""A folder that is no pipeline is named for what it is, and the command that is given reads what is meant."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nightlatch.intake import check, exit_code

LORA = "lora/pytorch_lora_weights.safetensors"
CASES: dict[str, tuple[Callable[[Path, Path], Path], int, str]] = {}


def layout(
    name: str, code: int, words: str
) -> Callable[[Callable[[Path, Path], Path]], Callable[[Path, Path], Path]]:
    def keep(build: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        CASES[name] = (build, code, words)
        return build

    return keep


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target))


@layout("one LoRA under its own name, with a card and previews", 0, "LoRA")
def _(built: Path, out: Path) -> Path:
    copy(built / LORA, out / "style.safetensors")
    (out / "README.md").write_text("---\nlicense: mit\n---\n")
    (out / "style.preview.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (out / "style.civitai.info").write_text("{}")
    return out


@layout("two LoRAs", 2, "2 weights files")
def _(built: Path, out: Path) -> Path:
    copy(built / LORA, out / "a.safetensors")
    copy(built / LORA, out / "b b.safetensors")
    return out


@layout("a web interface's folder of models", 2, "weights files in folders below it")
def _(built: Path, out: Path) -> Path:
    copy(built / LORA, out / "Lora" / "a.safetensors")
    copy(built / LORA, out / "Lora" / "b.safetensors")
    return out


@layout("a pipeline in a folder of it", 2, "lies in a folder of it")
def _(built: Path, out: Path) -> Path:
    copy(built / "pipeline", out / "model")
    return out


@layout("two pipelines", 2, "2 pipelines")
def _(built: Path, out: Path) -> Path:
    copy(built / "pipeline", out / "a")
    copy(built / "pipeline", out / "b")
    return out


@layout("a training's checkpoints", 2, "training")
def _(built: Path, out: Path) -> Path:
    for step in (500, 1000):
        copy(built / LORA, out / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors")
    return out


@layout("adapters of peft for each component", 2, "adapters")
def _(built: Path, out: Path) -> Path:
    copy(built / "peft", out / "unet")
    copy(built / "peft", out / "text_encoder")
    return out


@layout("a component of a pipeline", 2, "the UNet")
def _(built: Path, out: Path) -> Path:
    return copy(built / "pipeline", out) / "unet"


@layout("a scheduler of a pipeline", 2, "the scheduler")
def _(built: Path, out: Path) -> Path:
    return copy(built / "pipeline", out) / "scheduler"


@layout("components without model_index.json", 2, "no model_index.json")
def _(built: Path, out: Path) -> Path:
    copy(built / "pipeline", out)
    (out / "model_index.json").unlink()
    return out


@layout("a repository's folder in the hub's cache", 2, "hub cache")
def _(built: Path, out: Path) -> Path:
    copy(built / "pipeline", out / "models--org--name" / "snapshots" / ("a" * 40))
    return out / "models--org--name"


@layout("the snapshots of a repository", 2, "snapshots")
def _(built: Path, out: Path) -> Path:
    copy(built / "pipeline", out / "models--org--name" / "snapshots" / ("a" * 40))
    return out / "models--org--name" / "snapshots"


@layout("only GGUF", 2, "GGUF")
def _(built: Path, out: Path) -> Path:
    out.mkdir()
    (out / "model-q8.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(40))
    return out


@layout("one sharded model", 2, "parts of one sharded model")
def _(built: Path, out: Path) -> Path:
    copy(built / LORA, out / "model-00001-of-00002.safetensors")
    copy(built / LORA, out / "model-00002-of-00002.safetensors")
    return out


@layout("nothing at all", 2, "no model in it")
def _(built: Path, out: Path) -> Path:
    out.mkdir()
    (out / "notes.txt").write_text("x")
    return out


@pytest.mark.parametrize("name", CASES)
def test_a_folder_is_named_and_the_command_works(built: Path, tmp_path: Path, name: str) -> None:
    build, code, words = CASES[name]
    manifest = check(build(built, tmp_path / "made"))
    assert exit_code(manifest) == code
    assert words in " ".join(f.sentence for f in manifest.findings), manifest.findings
    assert not [f for f in manifest.findings if f.severity == "warning"]
    assert "internal" not in {f.rule for f in manifest.findings}
    for finding in manifest.findings:
        for command in re.findall(r"'nightlatch check ([^']*)'", finding.remedy):
            (path,) = shlex.split(command)
            if path not in ("PIPELINE", "MODEL", "FILE.safetensors"):
                assert exit_code(check(path)) == 0, (finding.remedy, check(path).findings)


def test_a_model_at_the_root_of_a_hub_cache_is_called_by_its_name(built: Path, tmp_path: Path) -> None:
    copy(built / "pipeline", tmp_path / "models--org--some-name" / "snapshots" / ("a" * 40))
    (finding,) = check(tmp_path).findings
    assert "'nightlatch check org/some-name'" in finding.remedy


def test_the_parts_of_another_architecture_keep_their_rules(model: Path) -> None:
    """SDXL: one neutral note; and what is wrong with its files is still said."""
    index = model / "model_index.json"
    value = {
        **json.loads(index.read_text()),
        "_class_name": "StableDiffusionXLPipeline",
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    }
    index.write_text(json.dumps(value))
    shutil.copytree(model / "text_encoder", model / "text_encoder_2")
    manifest = check(model, values=True)
    assert [f.rule for f in manifest.findings if f.rule != "values-scanned"] == ["unsupported-pipeline"]
    weights = model / "text_encoder_2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    assert "header" in {f.rule for f in check(model).findings}
    weights.unlink()
    (model / "text_encoder_2" / "pytorch_model.bin").write_bytes(b"\x80\x02}.")
    assert "pickle-weights" in {f.rule for f in check(model).findings}
    index.write_text(json.dumps({**value, "text_encoder_2": ["subprocess", "Popen"]}))
    assert "unknown-library" in {f.rule for f in check(model).findings}
