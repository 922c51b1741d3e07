from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Files, Hub, etag, serving
from intake_fixtures import pack

from nightlatch.errors import UnreadableModel
from nightlatch.intake import check, exit_code, stage
from nightlatch.intake.hub import source as hub

LORA = pack({
    "unet.to_q.lora_A.weight": ["F32", [2, 4], bytes(range(32))],
    "unet.to_q.lora_B.weight": ["F32", [4, 2], bytes(range(32))],
})  # fmt: skip
LORA_REPOSITORY: Files = {"pytorch_lora_weights.safetensors": LORA, "README.md": b"# A LoRA"}
PIPELINE: Files = {
    "model_index.json": json.dumps({"_class_name": "StableDiffusionPipeline"}).encode(),
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": b"w" * 50,
    "unet/diffusion_pytorch_model.fp16.safetensors": b"v" * 25,
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.fp16.safetensors": b"only a variant",
    "text_encoder/config.json": b"{}",
    "text_encoder/model.safetensors.index.json": b"{}",
    "text_encoder/model-00001-of-00002.safetensors": b"1",
    "text_encoder/model-00002-of-00002.safetensors": b"2",
    "text_encoder/adapter_config.json": b"{}",
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"",
    "tokenizer/tokenizer_config.json": b"{}",
    "scheduler/scheduler_config.json": b"{}",
    "safety_checker/model.safetensors": b"s",
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "pipeline.py": b"code",
    "merged.safetensors": b"single",
    "preview.png": b"image",
}
LEFT_BEHIND = {
    "unet/diffusion_pytorch_model.fp16.safetensors", "safety_checker/model.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "pipeline.py", "merged.safetensors", "preview.png",
}  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    disable_progress_bars()
    with serving() as running:
        yield running
    enable_progress_bars()


def locate(server: Hub, cache: Path, source: str = "org/name", **options: Any) -> hub.Located:
    return hub.locate(source, endpoint=server.endpoint, cache=cache, **options)


def refusal(server: Hub, cache: Path, source: str = "org/name", **options: Any) -> UnreadableModel:
    """The error; always a sentence, a remedy, exit code 2."""
    with pytest.raises(UnreadableModel) as caught:
        locate(server, cache, source, **options)
    assert caught.value.sentence.endswith(".") and caught.value.remedy.endswith(".")
    assert caught.value.exit_code == 2
    return caught.value


def rules(located: hub.Located) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for f in located.findings:
        found.setdefault(f.rule, []).append(f.file)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", ("org/name", "main")), ("org/name@v1.0", ("org/name", "v1.0")),
        ("a/b@refs/pr/3", ("a/b", "refs/pr/3")),
        ("name", None), ("./org/name", None), ("/org/name", None), ("org/name/", None), ("a/b/c", None),
        ("../name", None),
        ("org/..", None), ("org/na..me", None), ("org/na--me", None), ("org/name@", None),
        ("org/name@../x", None),
        ("org/name@a//b", None), ("org/name@x.lock", None), ("models/x.safetensors", None),
        ("org/na me", None), ("", None),
        ("org/name@-x", None), ("org/n\u0430me", None), ("org/name\n", None),
    ],
)  # fmt: skip
def test_what_is_a_hub_name(text: str, expected: tuple[str, str] | None) -> None:
    assert hub.parse(text) == expected


def test_other_sources_stay_as_they_are(tmp_path: Path) -> None:
    located = hub.locate(tmp_path)
    assert (located.path, located.label, located.commit, located.findings) == (
        tmp_path,
        str(tmp_path),
        "",
        (),
    )


def test_a_folder_here_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Hub) -> None:
    (tmp_path / "org/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    located = locate(server, tmp_path / "cache")
    assert located.path == Path("org/name")
    assert rules(located) == {"local-first": [""]}
    assert server.asked == []


def test_only_allowed_files_are_fetched(tmp_path: Path, server: Hub) -> None:
    commit = server.push(PIPELINE)
    located = locate(server, tmp_path)
    assert located.commit == commit
    assert located.label == f"org/name@{commit}"
    assert located.path == tmp_path / "models--org--name/snapshots" / commit
    assert server.fetched() == PIPELINE.keys() - LEFT_BEHIND
    assert {
        str(p.relative_to(located.path)) for p in located.path.rglob("*") if p.is_file()
    } == server.fetched()
    assert all(commit in line or "/revision/main" in line for line in server.asked)
    assert sum("/revision/" in line for line in server.asked) == 1


def test_names_of_the_other_files_are_findings(tmp_path: Path, server: Hub) -> None:
    server.push(PIPELINE)
    found = rules(locate(server, tmp_path))
    assert found.pop("hub-commit") == [""]
    assert found.pop("not-fetched") == [""]
    assert found == {
        "second-variant": ["unet/diffusion_pytorch_model.fp16.safetensors"],
        "unused-pickle": ["unet/diffusion_pytorch_model.bin"],
        "unused-code": ["pipeline.py"],
        "extra-weights": ["merged.safetensors"],
    }


def test_a_lora_from_the_hub_to_the_private_folder(tmp_path: Path, server: Hub) -> None:
    commit = server.push(LORA_REPOSITORY)
    located = locate(server, tmp_path)
    with stage(located.path) as staged:
        assert (staged.path / "pytorch_lora_weights.safetensors").read_bytes() == LORA
        manifest = located.annotated(staged.manifest)
    assert manifest.source == f"org/name@{commit}"
    assert {"lora", "hub-commit"} <= {f.rule for f in manifest.findings}
    assert exit_code(manifest) == 0


def test_a_single_file_keeps_its_name(tmp_path: Path, server: Hub) -> None:
    server.push({"style.safetensors": LORA, "style.png": b"image"})
    for options in ({}, {"local_files_only": True}):
        located = locate(server, tmp_path, **options)
        manifest = check(located.path)
        assert [f.path for f in manifest.files] == ["style.safetensors"]
        assert exit_code(manifest) == 0


def test_the_commit_stays_pinned(tmp_path: Path, server: Hub) -> None:
    """The branch moves right after it was resolved: the files are those of the first commit."""
    first = server.push(LORA_REPOSITORY)
    other: Files = {**LORA_REPOSITORY, "pytorch_lora_weights.safetensors": LORA[:-1] + b"\0"}
    server.after_info = lambda: void(server.push(other))
    located = locate(server, tmp_path)
    assert located.commit == first != server.refs["main"]
    assert (located.path / "pytorch_lora_weights.safetensors").read_bytes() == LORA


def test_a_second_run_takes_the_cached_files(tmp_path: Path, server: Hub) -> None:
    server.push(LORA_REPOSITORY)
    first = locate(server, tmp_path)
    server.asked.clear()
    assert locate(server, tmp_path).path == first.path
    assert [line.split()[1].split("/")[1] for line in server.asked] == ["api"]


@pytest.mark.parametrize("revision", ["main", "v2", "refs/pr/1", "COMMIT"])
def test_offline_from_the_cache(
    tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    from huggingface_hub import constants

    branch = "main" if revision == "COMMIT" else revision
    commit = server.push(LORA_REPOSITORY, branch)
    source = f"org/name@{commit if revision == 'COMMIT' else revision}"
    online = locate(server, tmp_path, source)
    server.asked.clear()
    assert locate(server, tmp_path, source, local_files_only=True).path == online.path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    located = locate(server, tmp_path, source)
    assert (located.path, located.commit, located.label) == (online.path, commit, online.label)
    assert rules(located) == {"hub-cache": [""]}
    assert server.asked == []


def test_offline_and_not_cached(tmp_path: Path, server: Hub) -> None:
    error = refusal(server, tmp_path, local_files_only=True)
    assert "nor in the cache" in error.sentence
    assert "online" in error.remedy
    assert server.asked == []


def test_a_hub_that_does_not_answer(tmp_path: Path, server: Hub) -> None:
    commit = server.push(LORA_REPOSITORY)
    locate(server, tmp_path)
    server.refusal = (503, "")
    located = locate(server, tmp_path)
    assert located.commit == commit
    assert "503" in located.findings[0].sentence
    assert "nor in the cache" in refusal(server, tmp_path / "empty").sentence
    nobody = Hub(endpoint="http://127.0.0.1:1")
    assert locate(nobody, tmp_path).commit == commit


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (404, "RepoNotFound", "neither a folder here nor"), (403, "GatedRepo", "gated"),
        (401, "", "does not let you|may read"),
        (403, "", "does not let you"), (404, "RevisionNotFound", "no such revision"),
        (400, "", "not let you|cannot be|status"),
    ],
)  # fmt: skip
def test_refusals_are_sentences(tmp_path: Path, server: Hub, status: int, code: str, word: str) -> None:
    server.refusal = (status, code)
    error = refusal(server, tmp_path)
    assert any(w in error.sentence for w in word.split("|")), error.sentence


def test_the_endpoint_of_the_environment(tmp_path: Path, server: Hub) -> None:
    commit = server.push(LORA_REPOSITORY)
    code = "import sys; from nightlatch.intake.hub import source; print(source.locate('org/name').commit)"
    env = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == commit
    assert (tmp_path / "hub/models--org--name/refs/main").read_text() == commit


def test_no_room(tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.push(LORA_REPOSITORY)
    assert "at most 0.0 GB" in refusal(server, tmp_path, max_bytes=10).sentence
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(server, tmp_path / "file").sentence
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    assert "disk" in refusal(server, tmp_path).sentence
    assert server.fetched() == set()


def test_a_pipeline_from_the_hub_to_the_private_folder(built: Path, tmp_path: Path, server: Hub) -> None:
    """A whole honest pipeline, then the same with an adapter hidden in the text encoder."""
    root = built / "pipeline"
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    server.push(files)
    located = locate(server, tmp_path / "cache")
    with stage(located.path) as staged:
        assert {
            str(p.relative_to(staged.path)) for p in staged.path.rglob("*") if p.is_file()
        } <= files.keys()
        assert exit_code(located.annotated(staged.manifest)) == 0
    server.push({**files, "text_encoder/adapter_config.json": b'{"peft_type": "LORA"}'})
    located = locate(server, tmp_path / "cache")
    manifest = located.annotated(check(located.path))
    assert exit_code(manifest) == 1
    assert [(h.kind, h.file) for h in manifest.hints] == [("adapter", "text_encoder/adapter_config.json")]


def test_configs_of_what_is_not_loaded_are_read(built: Path, tmp_path: Path, server: Hub) -> None:
    """The user's own loader fetches them as well."""
    root = built / "pipeline"
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    kernel = {"safety_checker/config.json": b'{"_attn_implementation_internal": "someone/kernel"}'}
    index = {
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json": b'{"weight_map": {"x": "/etc/passwd"}}'
    }
    for more, rule in ((kernel, "kernel-field"), (index, "shard-path")):
        server.push({**files, **more, "safety_checker/model.safetensors": b"s"})
        located = locate(server, tmp_path / "cache")
        assert "safety_checker/model.safetensors" not in server.fetched()
        assert rule in {f.rule for f in check(located.path).findings}


def test_blobs_in_the_store_of_the_whole_cache(tmp_path: Path, server: Hub) -> None:
    """Newer hub libraries keep large files once per cache; the blob of the repository is then a link into
    that store.
    """
    server.push(LORA_REPOSITORY)
    located = locate(server, tmp_path)
    blob = tmp_path / "models--org--name/blobs" / etag(LORA)
    stored = tmp_path / "blobs/ab" / ("ab" * 32)
    stored.parent.mkdir(parents=True)
    shutil.move(blob, stored)
    blob.symlink_to(os.path.relpath(stored, blob.parent))
    assert exit_code(check(located.path)) == 0
    blob.unlink()
    blob.symlink_to(shutil.move(stored, tmp_path / "elsewhere"))
    manifest = check(located.path)
    assert exit_code(manifest) == 2
    assert "unreadable" in {f.rule for f in manifest.findings}


def void(_: object) -> None:
    """Drop a result."""
