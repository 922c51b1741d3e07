"""Every bad input ends with the named rule and exit code, and without touching anything."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import bad_contents
import bad_files
import pytest
from arena import CASES, SECRET, Arena, BadInput

from nightlatch.exits import of_files
from nightlatch.intake import RULES, Refused, check, stage
from nightlatch.intake.rules import LOADED
from nightlatch.records import Manifest
from nightlatch.report import files

assert bad_files
assert bad_contents


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.number}-{c.name}")
def test_bad_input(case: BadInput, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena(tmp_path, built)
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    case.build(arena)
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = listing(tmp_path)

    manifest = check(arena.source, values=True)
    assert case.rule in {f.rule for f in manifest.findings}, [
        (f.rule, f.file, f.sentence) for f in manifest.findings
    ]
    assert of_files(manifest) == case.code
    assert "internal" not in {f.rule for f in manifest.findings}

    outputs = [texts(manifest)]
    if (
        case.code == 2
        and not {f.rule for f in manifest.findings if f.severity == "error" or f.unsupported} <= LOADED
    ):
        with pytest.raises(Refused) as refused, stage(arena.source):
            raise AssertionError("a refused source was staged")
        assert case.rule in {f.rule for f in refused.value.manifest.findings}
        assert refused.value.sentence
        outputs.append(texts(refused.value.manifest) + str(refused.value))
    else:
        with stage(arena.source) as staged:
            assert staged.path.parent == scratch
            assert_private(staged.path)
            outputs.append(texts(staged.manifest))

    assert not arena.marker.exists()
    assert list(scratch.iterdir()) == []
    assert list(here.iterdir()) == []
    assert listing(tmp_path) == before
    for text in outputs:
        assert SECRET not in text
        assert text.replace("\n", "").isascii()
        assert text.replace("\n", "").isprintable()


def test_the_list_is_long_enough() -> None:
    own = [c for c in CASES if c.number == "own"]
    assert len(own) >= 40
    assert len({c.name for c in CASES}) == len(CASES)
    assert {c.rule for c in CASES} <= RULES.keys()


def texts(manifest: Manifest) -> str:
    """All views in one text; each must parse."""
    json.loads(files.as_json(manifest))
    ElementTree.fromstring(files.junit(manifest))
    for result in json.loads(files.sarif(manifest))["runs"][0]["results"]:
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    return "".join(view(manifest, "warning") for view in files.VIEWS.values())


def assert_private(folder: Path) -> None:
    """Only plain allow-listed files, nobody else may read them."""
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        assert not path.is_symlink()
        assert path.suffix in ("", ".json", ".txt", ".safetensors")
        assert path.stat().st_mode & 0o077 == 0


def listing(root: Path) -> list[tuple[str, int, int]]:
    """Every path below ``root`` with size and modification time; folders by name only."""
    found = []
    for folder, names, plain in os.walk(os.fsencode(root)):
        for name in names:
            found.append((repr(os.path.join(folder, name)), 0, 0))
        for name in plain:
            status = os.lstat(os.path.join(folder, name))
            found.append((repr(os.path.join(folder, name)), status.st_size, status.st_mtime_ns))
    return sorted(found)
