"""Files that real tools write draw no error, no warning, and no word that is not true of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import writers
import writers_of_files

from nightlatch.intake import NotSupported, check, exit_code, stage
from nightlatch.intake.rules import LOADED

assert writers_of_files


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> writers.Parts:
    return writers.Parts(tmp_path_factory.mktemp("honest") / "pipeline")


@pytest.mark.parametrize("name", writers.WRITERS)
def test_no_error_and_no_warning(name: str, parts: writers.Parts, tmp_path: Path) -> None:
    write, code, words = writers.WRITERS[name]
    source = write(tmp_path / "made", parts)
    manifest = check(source, values=True)
    assert not [f for f in manifest.findings if f.severity != "note"]
    assert exit_code(manifest) == code, manifest.findings
    said = " ".join(f.sentence for f in manifest.findings)
    assert words in said
    if code == 2:
        assert {f.rule for f in manifest.findings} & writers.UNSUPPORTED
        assert not any(word in said for word in ("refuse", "delete", "beside the model"))
        if not {f.rule for f in manifest.findings if f.unsupported} <= LOADED:
            with pytest.raises(NotSupported), stage(source):
                raise AssertionError("a file that is not supported was staged")
    else:
        with stage(source) as staged:
            assert not [f for f in staged.manifest.findings if f.severity != "note"]


def test_there_are_enough() -> None:
    assert len(writers.WRITERS) >= 60
