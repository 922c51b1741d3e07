from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from intake_fixtures import edit_tensors

from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.exits import of_files
from nightlatch.intake import RULES, Refused, check, stage
from nightlatch.intake.files import values
from nightlatch.intake.files.header import Tensor
from nightlatch.intake.findings import MAX_PER_RULE, Findings
from nightlatch.intake.staging import private as staging
from nightlatch.records import Finding, Manifest

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Private folders are made here, and none may be left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def test_every_rule_has_a_sentence_and_a_remedy() -> None:
    for name, (severity, description, remedy) in RULES.items():
        assert name == name.lower()
        assert " " not in name
        assert description.endswith(".")
        assert remedy.endswith(".") or (severity == "note" and not remedy)


def test_no_heavy_import() -> None:
    """The gate needs none of the libraries that it protects."""
    code = (
        "import sys, nightlatch.intake as i; i.check('.'); print({'torch', 'diffusers', 'transformers'} & "
        "set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("severities", "code"), [((), 0), (("note",), 0), (("warning", "note"), 1), (("warning", "error"), 2)]
)
def test_exit_codes(severities: tuple[Any, ...], code: int) -> None:
    findings = tuple(Finding(rule="x", severity=s, file="", sentence="y") for s in severities)
    assert of_files(Manifest(source="s", findings=findings)) == code


def test_staged_files_are_the_checked_ones(model: Path, scratch: Path) -> None:
    (model / "README.md").write_text("# x")
    with stage(model) as staged:
        assert staged.path.parent == scratch
        found = {str(p.relative_to(staged.path)): p for p in staged.path.rglob("*") if p.is_file()}
        listed = {f.path: f for f in staged.manifest.files if f.staged}
        assert found.keys() == listed.keys()
        assert "README.md" not in found
        for name, path in found.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name].sha256
            assert path.read_bytes() == (model / name).read_bytes()
        assert staged.manifest.pipeline_class == "StableDiffusionPipeline"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_removed_on_exceptions(model: Path, scratch: Path, error: type[BaseException]) -> None:
    def use() -> None:
        with stage(model):
            assert len(list(scratch.iterdir())) == 1
            raise error

    with pytest.raises(error):
        use()
    assert list(scratch.iterdir()) == []


def test_interrupted_while_copying(model: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(staging, "_confirm", interrupt)
    with pytest.raises(KeyboardInterrupt), stage(model):
        pass


def test_disk_full(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000}))
    with pytest.raises(NotScanned) as refusal, stage(model):
        pass
    assert "TMPDIR" in refusal.value.remedy
    assert refusal.value.exit_code == 2


def test_scratch_is_read_only(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NotScanned), stage(model, scratch=tmp_path / "not-there"):
        pass


@pytest.mark.parametrize("name", [UNET, "unet/config.json", "model_index.json"])
@pytest.mark.parametrize("way", ["append", "replace", "remove", "link", "same-size"])
def test_changed_between_check_and_copy(
    model: Path, monkeypatch: pytest.MonkeyPatch, name: str, way: str, tmp_path: Path
) -> None:
    """The source is rewritten after it was checked and before it is copied."""
    path, copy_all = model / name, staging._copy_all

    def change(*args: Any) -> Any:
        data = path.read_bytes()
        if way == "append":
            path.write_bytes(data + b" ")
        elif way == "same-size":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        else:
            path.unlink()
            if way == "replace":
                path.write_bytes(data)
            elif way == "link":
                (tmp_path / "elsewhere").write_bytes(data)
                path.symlink_to(tmp_path / "elsewhere")
        return copy_all(*args)

    monkeypatch.setattr(staging, "_copy_all", change)
    with pytest.raises(Refused) as refusal, stage(model):
        pass
    assert "source-changed" in {f.rule for f in refusal.value.manifest.findings}


def test_refusal_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel) as refusal, stage(tmp_path / "gone"):
        pass
    assert refusal.value.exit_code == 2
    assert "not-found" in refusal.value.sentence
    assert refusal.value.remedy


def test_a_failing_rule_counts_as_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightlatch.intake.configs.index.read_index", lambda _: 1 / 0)
    manifest = check(model)
    assert of_files(manifest) == 2
    assert "internal" in {f.rule for f in manifest.findings}


def test_findings_are_capped_and_counted() -> None:
    findings = Findings()
    for i in range(100):
        findings.add("unused-pickle", f"file{i}")
        findings.add("unused-pickle", "file0")
    result = findings.result()
    assert len(result) == MAX_PER_RULE + 1
    assert result[-1].sentence.startswith("60 further findings")


@pytest.mark.parametrize(
    ("dtype", "bits", "rule"),
    [
        ("F16", 0x7C00, "non-finite"), ("F16", 0xFE00, "non-finite"), ("F16", 0x7BFF, ""),
        ("BF16", 0x7F80, "non-finite"),
        ("BF16", 0xFFFF, "non-finite"), ("BF16", 0x477F, ""), ("BF16", 0x4780, "range"),
        ("F32", 0x7F800000, "non-finite"),
        ("F32", 0xFF800001, "non-finite"), ("F32", 0x477FE000, ""), ("F32", 0xC77FE001, "range"),
        ("F64", 0x7FF0 << 48, "non-finite"),
        ("F64", 0xFFF8 << 48, "non-finite"), ("F64", 0x40EFFC00 << 32, ""),
        ("F64", (0xC0EFFC00 << 32) + 1, "range"),
        ("F8_E4M3", 0xFF, "non-finite"), ("F8_E4M3", 0x7E, ""), ("F8_E5M2", 0x7C, "non-finite"),
        ("F8_E5M2", 0x7B, ""),
    ],
)  # fmt: skip
def test_bit_patterns(tmp_path: Path, dtype: str, bits: int, rule: str) -> None:
    width = values.FORMATS[dtype].width
    data = bytes(width * 5) + bits.to_bytes(width, "little") + bytes(width * 3)
    (tmp_path / "f").write_bytes(b"head" + data)
    with (tmp_path / "f").open("rb") as handle:
        seen = values.extent(handle, 4, Tensor(dtype, (9,), 0, len(data)), bytearray(2 * width))
    findings = Findings()
    values._judge("f", "t", dtype, seen, findings)
    assert {f.rule for f in findings.result()} == ({rule} if rule else set())
    assert not seen.constant


def test_constant_is_seen_across_pieces(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x00\x3c" * 1000)
    with (tmp_path / "f").open("rb") as handle:
        assert values.extent(handle, 0, Tensor("F16", (1000,), 0, 2000), bytearray(64)).constant
    (tmp_path / "f").write_bytes(b"\x00\x3c" * 999 + b"\x01\x3c")
    with (tmp_path / "f").open("rb") as handle:
        assert not values.extent(handle, 0, Tensor("F16", (1000,), 0, 2000), bytearray(64)).constant


def test_a_constant_matrix_is_a_note(model: Path) -> None:
    def zero(t: dict[str, Any]) -> None:
        t["conv_out.weight"][2] = bytes(len(t["conv_out.weight"][2]))

    edit_tensors(model / UNET, zero)
    manifest = check(model, values=True)
    assert of_files(manifest) == 0
    assert "constant-tensor" in {f.rule for f in manifest.findings}


@pytest.mark.parametrize(
    ("dtype", "words"), [("F32", "Every value of 3 files"), ("I64", "except 1 tensors of types")]
)
def test_what_was_not_read_is_not_claimed(model: Path, dtype: str, words: str) -> None:
    width = {"F32": 4, "I64": 8}[dtype]
    edit_tensors(model / UNET, lambda t: t.update({"conv_in.bias": [dtype, [8], b"\x01" * 8 * width]}))
    (note,) = (f.sentence for f in check(model, values=True).findings if f.rule == "values-scanned")
    assert words in note
