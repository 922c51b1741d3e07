"""A run folder survives a kill, refuses a second writer, and never shows half a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nightlatch import provenance
from nightlatch.errors import UsageError
from nightlatch.folder import write_whole
from nightlatch.provenance import write_figures
from nightlatch.records import Candidate, Verdict
from nightlatch.runs import Run, key


def test_key_ignores_order_and_is_short() -> None:
    assert key({"a": 1, "b": (2, 3)}) == key({"b": [2, 3], "a": 1})
    assert key({"a": 1}) != key({"a": 2})
    assert key({"a": np.int64(1)}) == key({"a": 1})
    assert len(key({})) == 16


def test_rows_are_kept_and_skipped_on_resume(tmp_path: Path) -> None:
    with Run(tmp_path / "run", command="nightlatch bench") as run:
        run.add("k1", {"rate": np.float64(0.5), "where": Path("a/b"), "bad": float("nan")})
    with Run(tmp_path / "run", command="nightlatch bench --again") as run:
        assert run.has("k1")
        assert not run.has("k2")
        run.add("k2", {"rate": 1})
        assert run.rows() == [{"rate": 0.5, "where": "a/b", "bad": "NaN"}, {"rate": 1}]
        assert run.row("k2") == {"rate": 1}
        manifest = run.manifest()
    assert manifest["command"] == "nightlatch bench"
    assert [m["command"] for m in manifest["resumed"]] == ["nightlatch bench --again"]
    assert "python" in manifest["versions"]


def test_same_key_twice_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.add("k", {})
        with pytest.raises(UsageError, match="already"):
            run.add("k", {})


@pytest.mark.parametrize(
    "torn", [b'{"key": "k2", "row": {"x"', b'{"key": "k2", "row": {}}', b"\xff\xfe", b"{"]
)
def test_torn_last_line_is_dropped_and_repaired(torn: bytes, tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.add("k1", {"x": 1})
    file = tmp_path / "rows.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert Run(tmp_path, write=False).rows() == [{"x": 1}]
    assert file.read_bytes() == whole + torn
    with Run(tmp_path) as run:
        assert file.read_bytes() == whole
        run.add("k2", {"x": 2})
    assert Run(tmp_path, write=False).rows() == [{"x": 1}, {"x": 2}]


def test_damage_elsewhere_is_named_and_lets_go_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"key": "a", "row": {}}\nrubbish\n{"key": "b", "row": {}}\n')
    with pytest.raises(UsageError, match="Line 2"):
        Run(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    Run(tmp_path).close()


def test_second_writer_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with Run(tmp_path):
        with pytest.raises(UsageError, match="Another run is writing"):
            Run(tmp_path)
        assert Run(tmp_path, write=False).rows() == []
    Run(tmp_path).close()


def test_killed_writer_leaves_whole_rows_and_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom nightlatch.runs import Run\nrun = Run(sys.argv[1])\n"
        "for i in range(10**6): run.add(str(i), {'i': i, 'fill': 'x' * 5000})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    rows = tmp_path / "rows.jsonl"
    deadline = time.monotonic() + 60
    while not (rows.exists() and rows.stat().st_size > 50_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with Run(tmp_path) as run:
        assert [row["i"] for row in run.rows()] == list(range(len(run.rows())))
        assert run.has("0")


def test_failed_append_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with Run(tmp_path) as run:
        run.add("k1", {"x": 1})
        before = (tmp_path / "rows.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                run.add("k2", {"x": 2})
        assert (tmp_path / "rows.jsonl").read_bytes() == before
        assert not run.has("k2")
        run.add("k2", {"x": 2})


def test_records_round_trip(tmp_path: Path) -> None:
    record = Verdict(
        word="suspicious", top_candidates=(Candidate(text="\u202eх", score=float("inf"), robust_z=1.0),)
    )
    with Run(tmp_path) as run:
        path = run.write("verdict", record)
        assert path.name == "verdict.json"
        assert run.wrote("verdict")
        assert run.read("verdict.json", Verdict) == record
        with pytest.raises(UsageError, match=r"holds no repair\.json"):
            run.read("repair", Verdict)
        with pytest.raises(UsageError, match="not a readable Candidate"):
            run.read("verdict", Candidate)


@pytest.mark.parametrize("name", ["run", "../verdict", "a/b", ".hidden", "", "a\0b"])
def test_record_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    with Run(tmp_path) as run, pytest.raises(UsageError, match="not a name"):
        run.write(name, Verdict(word="suspicious"))


def test_reading_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run folder"):
        Run(tmp_path / "missing", write=False)
    assert not (tmp_path / "missing").exists()
    reader = Run(tmp_path, write=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="reading only"):
        reader.add("k", {})


def test_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="a file is in the way"):
        Run(tmp_path / "file")
    with pytest.raises(UsageError, match="a file is in the way"):
        Run(tmp_path / "file" / "run")


def test_write_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file.txt"
    write_whole(path, "old")

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, b"new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
    write_whole(path, b"new")
    assert path.read_text() == "new"


def test_figures_start_with_command_seed_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "abc1234")
    path = tmp_path / "figures" / "scan.json"
    write_figures(
        path, [{"attack": "é", "success": np.float32(0.5)}, {"attack": "b", "seed": 9}], "make bench", 3
    )
    rows = json.loads(path.read_text("utf-8"))
    assert [list(row) for row in rows] == [
        ["command", "seed", "commit", "attack", "success"],
        ["command", "seed", "commit", "attack"],
    ]
    assert [row["seed"] for row in rows] == [3, 9]
    assert rows[0] == {"command": "make bench", "seed": 3, "commit": "abc1234", "attack": "é", "success": 0.5}
    write_figures(path, [], "make bench", 3)
    assert json.loads(path.read_text()) == []


def test_failing_rows_leave_the_old_figures(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    write_figures(path, [{"x": 1}], "c", 0)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_figures(path, [{"x": object()}], "c", 0)
    assert path.read_bytes() == before


def test_commit_is_of_this_checkout_or_unknown() -> None:
    assert provenance.commit() == "unknown" or len(provenance.commit()) >= 7


def test_command_line_names_the_program_without_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/nightlatch", "scan", "my model"])
    assert provenance.command_line() == "nightlatch scan 'my model'"
