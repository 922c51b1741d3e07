"""What a killed process left is swept; what is in use, somebody else's or not ours is not touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nightlatch.intake import stage
from nightlatch.intake.staging import leases


@pytest.fixture(scope="module")
def dead() -> int:
    """The id of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def left(scratch: Path, name: str, mode: int = 0o700) -> Path:
    folder = scratch / name
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    folder.chmod(mode)
    return folder


def test_a_dead_process_leaves_nothing(model: Path, tmp_path: Path, dead: int) -> None:
    scratch = tmp_path / "scratch"
    gone = left(scratch, f"nightlatch-{dead}-abcd1234")
    with stage(model, scratch=scratch) as staged:
        assert not gone.exists()
        assert [staged.path] == list(scratch.iterdir())
        assert f"-{os.getpid()}-" in staged.path.name
    assert list(scratch.iterdir()) == []


def test_what_is_not_certainly_stale_stays(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    kept = [
        left(tmp_path, f"nightlatch-{os.getpid()}-abcd1234"),
        left(tmp_path, f"nightlatch-{dead}-abcd1234x"),
        left(tmp_path, f"nightlatch-{dead}-open1234", 0o755),
        left(tmp_path, "nightlatch-abcd1234"),
        left(tmp_path, "nightlatch-0-abcd1234"),
    ]
    (tmp_path / f"nightlatch-{dead}-link1234").symlink_to(other)
    (tmp_path / f"nightlatch-{dead}-file1234").write_text("")
    leases.sweep(tmp_path)
    assert all((k / "unet" / "config.json").is_file() for k in kept)
    assert other.is_dir()
    assert (tmp_path / f"nightlatch-{dead}-link1234").is_symlink()
    assert (tmp_path / f"nightlatch-{dead}-file1234").is_file()
    foreign = left(tmp_path, f"nightlatch-{dead}-user1234")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    leases.sweep(tmp_path)
    assert foreign.is_dir()


def test_a_locked_folder_is_in_use_whatever_its_number_says(tmp_path: Path, dead: int) -> None:
    """As of a process in another container, whose number means nothing here."""
    folder, lease = leases.make(tmp_path)
    renamed = folder.rename(tmp_path / f"nightlatch-{dead}-abcd1234")
    leases.sweep(tmp_path)
    assert renamed.is_dir()
    os.close(lease)
    leases.sweep(tmp_path)
    assert not renamed.exists()


def test_no_scratch_is_no_error(tmp_path: Path) -> None:
    leases.sweep(tmp_path / "not-there")
