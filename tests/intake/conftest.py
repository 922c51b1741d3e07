from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from intake_fixtures import honest_root


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with honest files written by diffusers and peft; read only."""
    return honest_root(tmp_path_factory.getbasetemp())


@pytest.fixture
def model(built: Path, tmp_path: Path) -> Path:
    """A copy of the honest pipeline to change."""
    return Path(shutil.copytree(built / "pipeline", tmp_path / "model"))
