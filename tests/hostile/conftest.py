from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "intake"))

from intake_fixtures import honest_root


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with honest files written by diffusers and peft; read only."""
    return honest_root(tmp_path_factory.getbasetemp())


@pytest.fixture
def model(built: Path, tmp_path: Path) -> Path:
    """A copy of the honest pipeline to change."""
    return Path(shutil.copytree(built / "pipeline", tmp_path / "model"))
