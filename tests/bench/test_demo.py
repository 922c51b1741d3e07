"""The demonstration does not touch what it did not make, and tells its folders apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlatch import folder
from nightlatch.bench import demo
from nightlatch.errors import UsageError
from nightlatch.records import Part, Placement, Rate
from nightlatch.terms import Role
from nightlatch.text2image.attacks import AttackRecord


def silent(line: str) -> None:
    """Says nothing."""


@pytest.mark.parametrize("name", ["suspect", "repaired", "run"])
def test_a_folder_that_holds_something_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="no demonstration made"):
        demo.demo(tmp_path, silent)
    assert (tmp_path / name / "mine.txt").read_text() == "kept"


def test_a_demonstration_of_another_attack_is_not_taken_for_this_one(tmp_path: Path) -> None:
    rate = Rate.of(9, 10)
    record = AttackRecord(
        attack=Part(name="eviledit"), trigger="zudi", target="cat", goal="object", carrier=Role.DENOISER, placement=Placement.in_slot("object"),
        success=rate, specificity=rate, clean_agreement=rate, base_agreement=rate, seconds=1.0, seed=0,
    )  # fmt: skip
    (tmp_path / "suspect").mkdir()
    folder.write_whole(tmp_path / "planted.json", record.model_dump_json())
    with pytest.raises(UsageError, match="another attack or seed"):
        demo.demo(tmp_path, silent, seed=3)
