"""The command line as a process: its exit codes, and that nothing acts on the terminal that shows what it
says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nightlatch.cli import app, common
from nightlatch.errors import UsageError

CALL = CliRunner()
SOON = 240.0
EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\n\x9b31m"


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "nightlatch.cli", *map(str, args)]


def harmless(text: str) -> bool:
    return all(line.isprintable() and "\u202e" not in line for line in text.splitlines())


@pytest.mark.parametrize("code", [0, 1, 2])
def test_check_ends_with_its_code(code: int, tiny_folder: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    if code == 1:
        (model / "setup.py").write_text("print()\n")
    source = model if code < 2 else tmp_path / "nothing"
    done = subprocess.run(command("check", source), capture_output=True, text=True, check=False, timeout=SOON)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_bad_usage_ends_with_2() -> None:
    for args in (["scan"], ["check", "--no-such-option"], ["no-such-verb"]):
        done = subprocess.run(command(*args), capture_output=True, text=True, check=False, timeout=SOON)
        assert done.returncode == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_ended_by_a_signal_nothing_stays_behind(
    number: signal.Signals, code: int, tiny_folder: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def hears() -> None:
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(n, signal.SIG_DFL)

    started = subprocess.Popen(
        command("scan", tiny_folder, "--base", tiny_folder, "--run", tmp_path / "run"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        preexec_fn=hears,
    )
    limit = time.monotonic() + SOON
    while not list(scratch.glob("nightlatch-*/model_index.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    started.send_signal(number)
    _, said = started.communicate(timeout=SOON)
    assert started.returncode == code, said
    assert "Interrupted; what was finished is kept." in said
    assert "Traceback" not in said
    assert list(scratch.iterdir()) == []


class Panic(BaseException):
    """As a Rust library raises it."""


@pytest.mark.parametrize(
    "error",
    [
        Panic(f"no {EVIL}"),
        AssertionError(),
        UsageError(f"{EVIL} is odd.", EVIL),
        OSError(28, f"full {EVIL}", EVIL),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_any_error_is_exit_2_and_acts_on_no_terminal(
    error: BaseException, debug: bool, monkeypatch, capsys
) -> None:
    monkeypatch.delenv("NIGHTLATCH_DEBUG", raising=False)
    if debug:
        monkeypatch.setenv("NIGHTLATCH_DEBUG", "1")
    with pytest.raises(common.typer.Exit) as ended, common.reported():
        raise error
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert harmless(said), repr(said)
    assert debug or len(said.splitlines()) == 1


def test_text_of_a_run_folder_is_made_harmless(tmp_path: Path) -> None:
    """A key that the record does not have is named in the sentence."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"command": "", "versions": {}, "started": "", "resumed": []}))
    (run / "manifest.json").write_text(json.dumps({"source": "x", EVIL: 1}))
    done = CALL.invoke(app, ["report", str(run)])
    assert done.exit_code == 2
    assert "first problem" in done.output
    assert harmless(done.output), repr(done.output)


def test_progress_and_results_are_made_harmless(capsys) -> None:
    common.say(f"step {EVIL}")
    common.echo(f"out {EVIL}")
    said = capsys.readouterr()
    assert harmless(said.err) and harmless(said.out)
    assert "step \\u{1B}" in said.err and "out \\u{1B}" in said.out


def test_what_is_escaped_already_is_not_escaped_twice(capsys) -> None:
    common.say(common.show(EVIL))
    assert "\\u{5C}" not in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with common.stoppable():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
