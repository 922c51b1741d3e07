"""A run folder may be a stranger's: no link is followed, nothing is waited for, nothing is read or written
elsewhere, and nothing stale stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from nightlatch.cli import app
from nightlatch.errors import UsageError
from nightlatch.folder import Folder
from nightlatch.records import Manifest, Verdict
from nightlatch.runs import Run

CALL = CliRunner()
FILES = ("run.json", "rows.jsonl", "run.lock", "verdict.json")


def sound(path: Path) -> Path:
    """A run folder with a verdict that is about no files."""
    with Run(path) as run:
        run.add("k", {"x": 1})
        run.write("verdict", Verdict(word="nothing found by these tests"))
    return path


def link(path: Path, outside: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(outside)


def pipe(path: Path, outside: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def hard(path: Path, outside: Path) -> None:
    path.unlink(missing_ok=True)
    os.link(outside, path)


def folder(path: Path, outside: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("odd", [link, pipe, folder])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_regular_file_is_neither_read_nor_waited_for_nor_written(
    name: str, odd: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept, and without an end of line")
    run = sound(tmp_path / "run")
    odd(run / name, outside)
    for args in (
        ["report", str(run)],
        ["clean", "nowhere", "-o", str(tmp_path / "o"), "--trigger", "x", "--run", str(run)],
    ):
        done = CALL.invoke(app, args)
        assert done.exit_code == 2 or name == "verdict.json", done.output
        assert "Traceback" not in done.output and "Internal error" not in done.output
        assert outside.read_text() == "kept, and without an end of line"


@pytest.mark.parametrize("name", ["rows.jsonl", "run.lock"])
def test_a_file_that_is_also_elsewhere_is_not_written(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text('{"key": "a", "row": {}}\n{"half')
    hard(sound(tmp_path / "run") / name, outside)
    with pytest.raises(UsageError, match="of this folder alone"):
        Run(tmp_path / "run")
    assert outside.read_text().endswith('{"half')


def test_pictures_go_into_a_real_folder_only(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "00-clean.png").write_bytes(b"kept")
    run = sound(tmp_path / "run")
    (run / "images").symlink_to(tmp_path / "elsewhere")
    with Run(run) as opened:
        with pytest.raises(UsageError, match="no real folder"):
            opened.picture("00-clean.png", b"new")
        with pytest.raises(UsageError, match="no real folder"):
            opened.read_picture("images/00-clean.png")
    assert (tmp_path / "elsewhere" / "00-clean.png").read_bytes() == b"kept"


def test_a_link_is_replaced_when_a_record_is_written(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    run = sound(tmp_path / "run")
    link(run / "verdict.json", outside)
    link(run / "report.html", outside)
    with Run(run) as opened:
        opened.write("verdict", Verdict(word="suspicious"))
        opened.put("report.html", "page")
        assert opened.read("verdict", Verdict).word == "suspicious"
    assert outside.read_text() == "kept"
    assert not (run / "report.html").is_symlink()


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    run = sound(tmp_path / "run")
    with (run / "verdict.json").open("wb") as file:
        file.truncate(10 << 30)
    done = CALL.invoke(app, ["report", str(run)])
    assert done.exit_code == 2
    assert "larger than" in " ".join(done.output.split())
    with Run(run, write=False) as opened, pytest.raises(UsageError, match="larger"):
        opened.read("verdict", Verdict)


@pytest.mark.parametrize(
    "name", ["../x.png", "images/../../x.png", "a/b/c.png", "/etc/passwd", "images/", "a\0b", "", "."]
)
def test_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "run" / "images").mkdir(parents=True)
    held = Folder(tmp_path / "run")
    with pytest.raises((UsageError, FileNotFoundError)):
        held.read(name, 10)
    held.close()


def test_deep_json_is_one_sentence(tmp_path: Path) -> None:
    run = sound(tmp_path / "run")
    (run / "run.json").write_text("[" * 200_000)
    assert "not the manifest of a run" in " ".join(CALL.invoke(app, ["report", str(run)]).output.split())
    (run / "run.json").unlink()
    (run / "rows.jsonl").write_text("[" * 200_000 + "\n")
    assert "Line 1" in CALL.invoke(app, ["clean", "x", "-o", "y", "--run", str(run)]).output


def test_a_failed_scan_leaves_no_verdict_of_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is not to be had: what was found about the last model must not stand for this one."""
    monkeypatch.chdir(tmp_path)
    run = sound(tmp_path / "run")
    with Run(run) as opened:
        opened.picture("00-clean.png", b"old")
        opened.write("manifest", Manifest(source="another model"))
    slip = CALL.invoke(app, ["scan", "nowhere", "--base", "nowhere", "--run", str(run)])
    assert slip.exit_code == 2 and (run / "verdict.json").exists(), slip.output
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = CALL.invoke(app, ["scan", "nobody/nothing", "--base", "nobody/nothing", "--run", str(run)])
    assert done.exit_code == 2
    assert not (run / "verdict.json").exists()
    assert not list((run / "images").iterdir())
    assert CALL.invoke(app, ["report", str(run)]).exit_code == 0
    assert "may be loaded" not in (run / "report.html").read_text()
    assert json.loads((run / "report.json").read_text())["exit_code"] == 2


def test_results_without_the_files_that_they_are_about_are_not_built_on(
    tiny_folder: Path, tmp_path: Path
) -> None:
    run = sound(tmp_path / "run")
    done = CALL.invoke(
        app, ["clean", str(tiny_folder), "-o", str(tmp_path / "o"), "--trigger", "zudi", "--run", str(run)]
    )
    assert done.exit_code == 2
    assert "which files it is about" in " ".join(done.output.split())


def test_a_mistake_leaves_no_empty_run_folder(tiny_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    args = ["clean", str(tiny_folder), "-o", str(tmp_path / "o"), "--trigger", "zudi", "--run", str(run)]
    assert "'sau'" in CALL.invoke(app, [*args, "--method", "sua"]).output
    assert not run.exists()


def test_a_report_is_of_a_run_folder_that_is_there(tmp_path: Path) -> None:
    assert CALL.invoke(app, ["report", str(tmp_path / "missing")]).exit_code == 2
    assert not (tmp_path / "missing").exists()
