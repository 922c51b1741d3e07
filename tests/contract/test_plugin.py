"""A part that another package brings: installed for real, found by its entry point, shown by ``ls``, used by
name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nightlatch.registry import Registry

PACKAGE = '''
"""A repair of another package."""

from collections.abc import Iterator
from dataclasses import dataclass

from nightlatch.text2image.repair import METHODS, Method


@METHODS.register("shrink")
@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink(Method):
    """Makes every weight of the denoiser a little smaller."""

    share: float = 0.01

    def run(self, student, frozen, job) -> Iterator[tuple[int, dict[str, float]]]:
        for weight in student.unet.parameters():
            weight.data.mul_(1 - self.share)
        yield 0, {"share": self.share}
'''
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "shrinking"
version = "1.0"
[project.entry-points."nightlatch.parts"]
shrinking = "shrinking"
broken = "shrinking:not_there"
[tool.setuptools]
py-modules = ["shrinking"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package."""
    project, site = tmp_path_factory.mktemp("shrinking"), tmp_path_factory.mktemp("site")
    (project / "shrinking.py").write_text(PACKAGE)
    (project / "pyproject.toml").write_text(PROJECT)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--target", str(site), str(project)], check=True, capture_output=True)
    return site


def ended(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "nightlatch", *args]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )


def test_ls_shows_it_and_says_what_does_not_load(site: Path) -> None:
    done = ended(site, "ls", "repairs")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("shrink ")]
    assert "Makes every weight" in line and "[shrinking]" in line
    assert "'broken'" in done.stderr and "cannot be loaded" in done.stderr


def test_it_is_used_by_its_name(site: Path, tmp_path: Path) -> None:
    code = (
        "from nightlatch.text2image.repair import METHODS\n"
        "part = METHODS.create('shrink', share=0.5)\n"
        "print(part.name, part.share, type(part).__module__)"
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == "shrink 0.5 shrinking"


class Base:
    """Of a kind of parts."""

    name = ""


@dataclass(frozen=True)
class Positional(Base):
    share: float = 0.5


@dataclass(kw_only=True)
class Thawed(Base):
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Sound(Base):
    share: float = 0.5


class Inherits(Sound):
    pass


@pytest.mark.parametrize("part", [Base, Positional, Thawed, Inherits])
def test_what_is_no_frozen_keyword_only_dataclass_is_refused(part: type[Base]) -> None:
    registry = Registry("part", Base)
    with pytest.raises(TypeError, match="frozen"):
        registry.register("x")(part)
    registry.register("x")(Sound)
    with pytest.raises(ValueError, match="twice"):
        registry.register("x")(Sound)
