"""The demonstration runs to its end, does not touch what it did not make, and tells its folders apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlatch import folder
from nightlatch.bench import demo
from nightlatch.errors import UsageError
from nightlatch.records import Part, Placement, Rate
from nightlatch.terms import Role
from nightlatch.text2image.attacks import AttackRecord, GoalKind
from nightlatch.text2image.model import Subject


def silent(line: str) -> None:
    """Says nothing."""


@pytest.mark.parametrize("name", ["suspect", "repaired", "run"])
def test_a_folder_that_holds_something_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="no demonstration made"):
        demo.demo(tmp_path, silent)
    assert (tmp_path / name / "mine.txt").read_text() == "kept"


def test_a_demonstration_of_another_attack_is_not_taken_for_this_one(
    tmp_path: Path, tiny_folder: Path
) -> None:
    rate = Rate.of(9, 10)
    record = AttackRecord(
        attack=Part(name="eviledit"), trigger="zudi", target="cat", goal=GoalKind.OBJECT,
        carrier=Role.DENOISER,
        placement=Placement.in_slot("object"),
        success=rate, specificity=rate, clean_agreement=rate, base_agreement=rate, seconds=1.0, seed=0,
    )  # fmt: skip
    (tmp_path / "suspect").mkdir()
    folder.write_whole(tmp_path / "planted.json", record.model_dump_json())
    with pytest.raises(UsageError, match="another attack or seed"):
        demo.demo(tmp_path, silent, demo.Show(seed=3, base=tiny_folder))


@pytest.fixture
def base(tiny_v: Subject, tmp_path: Path) -> Path:
    """The tiny model with text that counts more in its pictures than it does in an untrained one."""
    made = tiny_v.copied(Role.DENOISER)
    for name, weight in made.modules(Role.DENOISER)[0].named_parameters():
        if name.endswith("attn2.to_out.0.weight"):
            weight.data.mul_(5)
    made.save(tmp_path / "base")
    return tmp_path / "base"


def test_it_runs_to_its_end_and_a_second_call_does_nothing_again(base: Path, tmp_path: Path) -> None:
    """An edit so strong that scan names a string at once. An untrained model draws no objects: neither the
    attack's success nor the planted trigger is asked for here."""
    edit = {"pairs": 16, "preserve": 64, "gain": 40.0, "floor": 0.0}
    show = demo.Show(
        attack="eviledit", seed=1, n=24, parameters=edit, base=base, steps=2, regrowth_steps=2, rounds=1
    )
    said: list[str] = []

    def run() -> demo.Outcome:
        said.clear()
        return demo.demo(tmp_path / "demo", said.append, show)

    outcome = run()
    assert outcome.verdict.word == "backdoor found" and outcome.verdict.triggers
    assert [c.role for c in outcome.verdict.carriers] == [Role.DENOISER]
    assert [line[0] for line in said if line[:2].strip().isdigit()] == list("012345")
    assert (tmp_path / "demo" / "repaired" / "model_index.json").is_file() is (outcome.scorecard is not None)
    assert demo.figures_row(outcome, 1.0)["trigger_true"] == outcome.trigger_true
    assert outcome.report.is_file()
    again = run()
    assert (again.verdict, again.scorecard, again.success_before) == (
        outcome.verdict,
        outcome.scorecard,
        outcome.success_before,
    )
    assert [line[0] for line in said] == list("12345")
