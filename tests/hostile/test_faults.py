"""What goes wrong during a run: the user gets one sentence and a documented exit code, inputs stay as they
were, and a second run ends the same.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from arena import hears_interrupts
from typer.testing import CliRunner

from nightlatch.cli import app
from nightlatch.runs import Run
from nightlatch.testbed import PIPELINE
from nightlatch.text2image.model import loaders

CALL = CliRunner()
QUICK = ("--prompts", "emoji", "--steps", "2", "--guidance", "1", "--seed", "0")
SOON = 120.0


@pytest.fixture(scope="module")
def suspect(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one changed weight matrix, so that a scan has work to do."""
    import torch

    made = loaders.load(tiny_folder).copy("text_encoder")
    rows = made.parts["text_encoder"].module.get_input_embeddings().weight
    rows.data[700] = 5 * torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("faults") / "suspect"
    made.save(folder, torch.float32)
    return folder


def scan_of(suspect: Path, base: Path, run: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "nightlatch.cli",
        "scan",
        str(suspect),
        "--base",
        str(base),
        "--run",
        str(run),
        *QUICK,
    ]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def verdict(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "verdict.json").read_text())
    parts = [{k: v for k, v in part.items() if k != "seconds"} for part in found["parts"]]
    return {k: v for k, v in found.items() if k != "seconds"} | {"parts": parts}


@pytest.fixture(scope="module")
def undisturbed(suspect: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run(scan_of(suspect, tiny_folder, run), capture_output=True, check=False, timeout=SOON)
    return verdict(run)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_stopped_scan_resumes_to_the_same_verdict(
    number: signal.Signals,
    code: int,
    suspect: Path,
    tiny_folder: Path,
    tmp_path: Path,
    undisturbed: dict[str, Any],
) -> None:
    run, scratch, before = tmp_path / "run", tmp_path / "scratch", digest(suspect)
    scratch.mkdir()
    started = subprocess.Popen(
        scan_of(suspect, tiny_folder, run),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        preexec_fn=hears_interrupts,
    )
    assert started.stderr is not None
    lines: list[str] = []
    limit = time.monotonic() + SOON
    while not any("fingerprint" in line for line in lines) and time.monotonic() < limit:
        lines.append(started.stderr.readline())
    started.send_signal(number)
    rest = started.stderr.read()
    assert started.wait(SOON) == code
    assert "Traceback" not in rest
    if number == signal.SIGINT:
        assert "Interrupted; what was finished is kept." in rest
        left = [p for p in scratch.iterdir() if p.name != ".ses"]
        assert not left, "private copies are gone; onnxruntime, where installed, leaves a file of its own"
    assert not (run / "verdict.json").exists()
    assert digest(suspect) == before
    again = subprocess.run(
        scan_of(suspect, tiny_folder, run), capture_output=True, text=True, check=False, timeout=SOON
    )
    assert again.returncode in (0, 1), again.stderr
    assert verdict(run) == undisturbed


def test_two_runs_into_one_folder(suspect: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with Run(tmp_path / "run"):
        done = CALL.invoke(
            app, ["scan", str(suspect), "--base", str(tiny_folder), "--run", str(tmp_path / "run"), *QUICK]
        )
    assert done.exit_code == 2
    assert "Another run is writing" in done.output


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only file system")]
)
def test_no_room_for_the_repaired_model(
    error: OSError, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, folder: Path, **_: Any) -> None:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "half.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr("diffusers.StableDiffusionPipeline.save_pretrained", fail)
    out, before = tmp_path / "out", digest(tiny_folder)
    args = [
        "clean",
        str(tiny_folder),
        "-o",
        str(out),
        "--run",
        str(tmp_path / "run"),
        "--trigger",
        "zudi",
        "--method",
        "uce",
    ]
    done = CALL.invoke(app, [*args, *QUICK])
    assert done.exit_code == 2
    assert str(error.strerror) in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == [], "no half model, and no run folder in which nothing stands"
    assert digest(tiny_folder) == before


@pytest.mark.parametrize("place", ["/proc/nightlatch-run", "file/run"])
def test_run_folder_that_cannot_be_made(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = CALL.invoke(
        app, ["scan", str(PIPELINE), "--base", str(PIPELINE), "--run", str(tmp_path / place), *QUICK]
    )
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert "Internal error" not in done.output
    assert len(done.output.strip().splitlines()) <= 2
