"""Numbered bad inputs that are no files: a source that changes between check and load (64), and memory that
runs out (65).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_files import UNET
from typer.testing import CliRunner

from nightlatch.cli import app
from nightlatch.intake import Refused, stage
from nightlatch.intake.staging import private as staging


def other_value(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def other_file(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved").name)


@pytest.mark.parametrize(
    "change", [other_value, other_file, link, Path.unlink], ids=lambda c: f"64-{c.__name__}"
)
def test_source_changes_between_check_and_load(
    change: Callable[[Path], None], built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, copy_all = Path(shutil.copytree(built / "pipeline", tmp_path / "model")), staging._copy_all

    def changed(*args: Any) -> Any:
        change(model / UNET)
        return copy_all(*args)

    monkeypatch.setattr(staging, "_copy_all", changed)
    with pytest.raises(Refused) as refused, stage(model, scratch=tmp_path):
        raise AssertionError("a changed source was staged")
    assert "source-changed" in {f.rule for f in refused.value.manifest.findings}
    assert refused.value.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            "The device ran out of memory. Use --device cpu",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "Free memory"),
        (MemoryError(), "Free memory"),
    ],
    ids=["65-device", "65-allocator", "65-machine"],
)
def test_memory_runs_out(
    error: Exception, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("nightlatch.loading.ready", fail)
    done = CliRunner().invoke(
        app, ["scan", str(tmp_path), "--base", str(tmp_path), "--run", str(tmp_path / "run")]
    )
    assert done.exit_code == 2
    assert "ran out of memory" in done.output
    assert remedy in done.output
    assert "Internal error" not in done.output
