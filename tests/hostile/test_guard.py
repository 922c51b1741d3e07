"""The guard process: every way in which a child can end badly is a sentence, and the parent lives on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import misbehaving
import pytest
from arena import hears_interrupts

from nightlatch import loading
from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.intake.staging import guard
from nightlatch.intake.staging.guard import guarded
from nightlatch.records import FileEntry, Manifest

HERE = Path(__file__).parent


def run(
    function: Callable[..., Any], *args: Any, seconds: float = 60, megabytes: int = 1_000, **options: Any
) -> Any:
    return guarded(function, *args, seconds=seconds, megabytes=megabytes, **options)


def refused(function: Callable[..., Any], *args: Any, **options: Any) -> NotScanned:
    with pytest.raises(NotScanned) as caught:
        run(function, *args, what="The trial", **options)
    error = caught.value
    assert (
        error.sentence.startswith("The trial ")
        and error.sentence.endswith(".")
        and error.remedy.endswith(".")
    )
    assert error.sentence.isascii() and error.sentence.isprintable()
    assert error.exit_code == 2
    return error


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody waits for counts as ended)."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("args", [[], [1, 2.5, "тест\u200b", None, True], [{"a": [1, {"b": []}]}]], ids=str)
def test_arguments_and_result(args: list[Any]) -> None:
    assert run(misbehaving.echo, *args) == args


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (misbehaving.abort, "SIGABRT"), (misbehaving.segfault, "SIGSEGV"),
        (misbehaving.kill_itself, "memory runs out"),
        (misbehaving.leave, "exit code 7"), (misbehaving.leave_as_if_well, "no sound answer"),
        (misbehaving.exit_quietly, "SystemExit"), (misbehaving.panic, "Panic"),
        (misbehaving.interrupt, "KeyboardInterrupt"),
        (misbehaving.odd_name, "u{1B}"), (misbehaving.recurse, "RecursionError"),
        (misbehaving.not_a_number, "ValueError"),
        (misbehaving.no_json, "TypeError"), (misbehaving.too_much, "no sound answer"),
        (misbehaving.too_deep, "no sound answer"),
        (misbehaving.forge_an_answer, "no sound answer"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)  # fmt: skip
def test_a_child_that_ends_badly(function: Callable[..., Any], word: str) -> None:
    assert word in refused(function).sentence


def test_no_end(tmp_path: Path) -> None:
    assert "longer than 1.5 seconds" in refused(misbehaving.sleep_for_ever, seconds=1.5).sentence


def test_helpers_of_the_child_are_stopped(tmp_path: Path) -> None:
    refused(misbehaving.sleep_with_a_helper, str(tmp_path / "pid"), seconds=5)
    assert gone(int((tmp_path / "pid").read_text()))
    assert gone(run(misbehaving.leave_a_helper))


def test_memory_limit() -> None:
    assert run(misbehaving.allocate, 100) == 100 << 20
    assert "more memory than 1,000 MB" in refused(misbehaving.allocate, 2_000).sentence


def test_no_address_space_limit_beside_cuda() -> None:
    assert run(misbehaving.limits, megabytes=700) == [700 << 20, 0]
    assert run(misbehaving.limits, megabytes=700, device="cuda:0")[0] != 700 << 20


def test_errors_of_our_own_come_through() -> None:
    with pytest.raises(UnreadableModel) as caught:
        run(misbehaving.refuse)
    assert caught.value.sentence == "It is \\u{1B}[2Jno model."
    assert caught.value.remedy == "Take another."
    with pytest.raises(NotScanned):
        run(misbehaving.foreign_refusal)


def test_output_does_not_block() -> None:
    assert run(misbehaving.chatter) == "done"


def test_the_child_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "http_proxy", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    seen = run(misbehaving.environment)
    assert seen["HF_HUB_OFFLINE"] == seen["DIFFUSERS_DISABLE_REMOTE_CODE"] == "1"
    assert not {k for k in seen if k.lower().endswith("_proxy") or "TOKEN" in k} - {"TOKENIZERS_PARALLELISM"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "PermissionError" in refused(misbehaving.connect, *server.getsockname()).sentence
    assert "PermissionError" in refused(misbehaving.look_up, "localhost").sentence


def test_nothing_is_imported_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model folder as working folder, with modules named like ours and like the standard library's."""
    for name in ("json.py", "nightlatch.py", "sitecustomize.py", "numpy.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert run(misbehaving.echo, 1) == [1]
    assert all(os.path.isabs(p) for p in run(misbehaving.import_path))
    assert not (tmp_path / "marker").exists()


def test_only_functions_with_a_name(tmp_path: Path) -> None:
    for function in (lambda: 1, type("Local", (), {"f": lambda self: 1})().f):
        with pytest.raises(ValueError, match="cannot be imported"):
            run(function)
    with pytest.raises(ValueError, match="JSON"):
        run(misbehaving.echo, float("nan"))


def test_no_room_for_the_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guard.tempfile, "tempdir", str(tmp_path / "not-there"))
    assert "does not start" in refused(misbehaving.echo).sentence


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_child_does_not_outlive_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or a parent that is killed outright."""
    note = tmp_path / "pid"
    code = (
        "import misbehaving; from nightlatch.intake.staging.guard import guarded; "
        f"guarded(misbehaving.sleep_and_tell, {str(note)!r}, seconds=60, megabytes=1000)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(os.path.isabs, sys.path)])}
    call = [sys.executable, "-c", code]
    parent = subprocess.Popen(call, env=env, stderr=subprocess.PIPE, text=True, preexec_fn=hears_interrupts)
    for _ in range(600):
        if note.exists() and note.read_text():
            break
        time.sleep(0.05)
    child = int(json.loads(note.read_text()))
    parent.send_signal(number)
    _, said = parent.communicate(timeout=30)
    assert parent.returncode != 0
    assert number != signal.SIGINT or "KeyboardInterrupt" in said
    assert gone(child)


@pytest.mark.parametrize(
    ("staged", "size", "limits"),
    [(False, 1 << 40, (120, 8000)), (True, 2000 << 20, (220, 20_000)), (True, 1 << 40, (1800, 128_000))],
)
def test_limits_grow_with_what_is_staged_only(staged: bool, size: int, limits: tuple[float, int]) -> None:
    manifest = Manifest(source="x", files=(FileEntry(path="a", size=size, kind="binary", staged=staged),))
    assert loading.load_limits(manifest) == limits


def test_a_child_fills_at_most_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 MB are little for the address space it is given, and much on a machine that has 400 MB left."""
    assert run(misbehaving.fill, 600, megabytes=4_000) == 600
    monkeypatch.setattr(guard.memory, "free", lambda: 400 << 20)
    error = refused(misbehaving.fill, 600, megabytes=4_000)
    assert error.sentence == "The trial needs more memory than 300 MB."
    assert run(misbehaving.fill, 20, megabytes=4_000) == 20


def test_what_is_free_is_within_the_containers_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    system = written("meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    limit, used = written("max", "4000000\n"), written("current", "1000000\n")
    open_ended = written("open", "max\n")
    memory = guard.memory
    monkeypatch.setattr(memory, "_SYSTEM", system)
    for containers, free in (
        ([], 5000 << 10), ([(limit, used)], 3_000_000), ([(open_ended, used)], 5000 << 10),
        ([(used, limit)], 0), ([(tmp_path / "none", used)], 5000 << 10),
    ):  # fmt: skip
        monkeypatch.setattr(memory, "_CONTAINERS", containers)
        assert memory.free() == free
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "none")
    monkeypatch.setattr(memory, "_CONTAINERS", [])
    assert memory.free() is None
