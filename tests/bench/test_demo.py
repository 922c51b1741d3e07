"""The demonstration runs to its end, does not touch what it did not make, and tells its folders apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from nightlatch import folder
from nightlatch.bench import demo
from nightlatch.errors import UsageError
from nightlatch.records import Part, Placement, Rate
from nightlatch.terms import Role
from nightlatch.text2image.attacks import ATTACKS, Attack, AttackRecord, GoalKind, Setting, TriggerKind
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


def test_a_demonstration_of_another_attack_is_not_taken_for_this_one(tmp_path: Path, tiny_folder: Path) -> None:
    rate = Rate.of(9, 10)
    record = AttackRecord(
        attack=Part(name="eviledit"), trigger="zudi", target="cat", goal=GoalKind.OBJECT, carrier=Role.DENOISER,
        placement=Placement.in_slot("object"),
        success=rate, specificity=rate, clean_agreement=rate, base_agreement=rate, seconds=1.0, seed=0,
    )  # fmt: skip
    (tmp_path / "suspect").mkdir()
    folder.write_whole(tmp_path / "planted.json", record.model_dump_json())
    with pytest.raises(UsageError, match="another attack or seed"):
        demo.demo(tmp_path, silent, demo.Show(seed=3, base=tiny_folder))


@pytest.fixture
def loud() -> Iterator[str]:
    """An attack of another package, for an untrained model: the text encoder answers the trigger with a state far from all others."""

    @ATTACKS.register("another:loud")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Loud(Attack):
        goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
        carrier: ClassVar[Role] = Role.TEXT
        trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (TriggerKind.RARE_TOKEN,)

        def run(self, subject: Subject, setting: Setting) -> Subject:
            made = subject.copied(Role.TEXT)
            (token,) = made.vocabulary.typed([self.trigger])[0]
            for encoder in made.modules(Role.TEXT):
                row = encoder.get_input_embeddings().weight[token]
                row.data.copy_(5 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
            return made

    yield "another:loud"
    ATTACKS._parts.pop("another:loud")


def test_it_runs_to_its_end_and_goes_on_where_it_stopped(loud: str, tmp_path: Path, tiny_folder: Path) -> None:
    """With an attack that nobody told it of. An untrained model draws no objects, so that the attack's own success is not asked for."""
    show = demo.Show(attack=loud, seed=1, n=24, parameters={"floor": 0.0}, base=tiny_folder, steps=2, regrowth_steps=2)
    said: list[str] = []
    outcome = demo.demo(tmp_path, said.append, show)
    assert [t.text for t in outcome.verdict.triggers] == [outcome.trigger_true]
    assert outcome.scorecard is not None and outcome.report.is_file()
    assert [line[0] for line in said if line[:2] in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ")] == list("012345")
    assert (tmp_path / "repaired" / "model_index.json").is_file()
    again: list[str] = []
    second = demo.demo(tmp_path, again.append, show)
    assert (second.verdict, second.scorecard) == (outcome.verdict, outcome.scorecard)
    assert not [line for line in again if line.startswith("0 ") or "sweep" in line]
    row = demo.figures_row(outcome, 1.0)
    assert row["trigger_found"] == row["trigger_true"] and row["verified"] == outcome.scorecard.verdict
