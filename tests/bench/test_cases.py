"""The experiment's plan: reproducible, mostly drawn at random, open to every registered attack."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from nightlatch.bench import cases, scans
from nightlatch.bench.experiment import Plan
from nightlatch.bench.tasks import STEPS, HonestTask, Step, SuspectTask, steps
from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.testbed import WORDS
from nightlatch.text2image.attacks import ATTACKS, Attack, GoalKind, Setting, TriggerKind
from nightlatch.text2image.model import Subject

RARE = [f"rare{chr(97 + i)}" for i in range(20)]
FIGURES = Path(__file__).parents[2] / "docs" / "figures"


@pytest.fixture
def another() -> Iterator[type[Attack]]:
    """An attack of another package."""

    @ATTACKS.register("another:fog")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Fog(Attack):
        goal_kind: ClassVar[GoalKind] = GoalKind.STYLE
        carrier: ClassVar[Role] = Role.DECODER
        trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (TriggerKind.PHRASE,)

        def run(self, subject: Subject, setting: Setting) -> Subject:
            return subject.copied(Role.DECODER)

    yield Fog
    ATTACKS._parts.pop("another:fog")


def test_another_attempt_draws_another_trigger_of_the_same_kind() -> None:
    first, second = (cases.draw("eviledit", 1, RARE, attempt) for attempt in (0, 1))
    assert first in cases.cases(RARE)
    assert second.trigger != first.trigger
    assert second.trigger in RARE
    assert (second.kind, second.name, second.drawn) == (first.kind, first.name, True)


@pytest.mark.parametrize("seeds", [cases.DEVELOPED, cases.EARLIER, cases.HELD_OUT])
def test_every_attack_for_every_seed_and_at_least_half_drawn(seeds: tuple[int, ...]) -> None:
    made = cases.cases(RARE, seeds)
    assert {c.attack for c in made} == set(ATTACKS.names())
    assert len(made) == len(seeds) * len(ATTACKS.names())
    assert sum(c.drawn for c in made) >= len(made) / 2
    assert len(seeds) == 1 or {c.kind for c in made} == set(TriggerKind)


def test_no_seed_is_both_developed_on_and_held_out() -> None:
    assert not {*cases.DEVELOPED, *range(3, 6), *cases.EARLIER} & set(cases.HELD_OUT)


def test_cases_repeat() -> None:
    assert cases.cases(RARE) == cases.cases(RARE)
    assert cases.cases(RARE, (1,)) == [c for c in cases.cases(RARE) if c.seed == 1]


def test_the_suspects_of_the_figures_are_drawn_again(tiny_v: Subject) -> None:
    """Those whose first draw was promising; words are the shipped tokenizer's."""
    from nightlatch.testbed.tokenizer import unheard_words

    rare = unheard_words(tiny_v.vocabulary)
    first = [row for row in json.loads((FIGURES / "attacks.json").read_text()) if row.get("refused") == []]
    drawn = [cases.draw(row["attack"], row["seed"], rare) for row in first]
    assert len(first) >= 20
    assert [(c.trigger, c.target, c.kind, c.drawn) for c in drawn] == [
        (row["trigger"], row["target"], row["kind_of_trigger"], row["drawn_at_random"]) for row in first
    ]


def test_no_target_is_named_by_its_trigger() -> None:
    for c in cases.cases(RARE):
        assert not set(c.trigger.split()) & set(c.target.split())
        ATTACKS.create(c.attack, trigger=c.trigger, target=c.target).require(WORDS)


def test_an_attack_of_another_package_is_drawn_as_it_declares(another: type[Attack]) -> None:
    made = cases.draw("another:fog", 5, RARE)
    assert (made.kind, made.drawn, made.name) == (TriggerKind.PHRASE, True, "another-fog-5")
    assert len(made.trigger.split()) == 2 and made.target in WORDS["style"]
    assert made == cases.draw("another:fog", 5, RARE) != cases.draw("another:fog", 6, RARE)
    assert cases.attacks()[:6] == cases.FIRST and "another:fog" in cases.attacks()


def test_a_plan_takes_any_registered_attack(another: type[Attack]) -> None:
    plan = Plan(seeds=(5,), attacks=("another:fog",), tuned=False, rivals=False)
    first = next(task for task in plan.tasks(RARE) if isinstance(task, SuspectTask))
    assert first.case == cases.draw("another:fog", 5, RARE)


def test_a_plan_can_be_cut_into_parts_that_together_are_the_whole() -> None:
    whole = Plan().suspects(RARE, (0, 1))
    parts = [Plan(attacks=(attack,)).suspects(RARE, (0, 1)) for attack in cases.attacks()]
    assert sorted(c.name for part in parts for c in part) == sorted(c.name for c in whole)


def test_making_and_scanning_can_be_had_without_repairs() -> None:
    plan = Plan(seeds=(0,), steps=steps("makes, scans"))
    made = plan.tasks(RARE)
    assert all(task.steps == {Step.MAKES, Step.SCANS} for task in made if isinstance(task, SuspectTask))
    assert len([task for task in made if isinstance(task, HonestTask)]) == 4
    assert len(made) == 4 + len(cases.attacks())
    repairs = [
        task for task in Plan(seeds=(0,)).tasks(RARE) if isinstance(task, SuspectTask) and task.steps == STEPS
    ]
    assert {method for task in repairs for method in task.methods} > {"sau", "skd", "uce", "the base itself"}


@pytest.mark.parametrize(
    ("make", "sentence", "remedy"),
    [
        (lambda: Plan(attacks=("eviledit", "evilediit")), "no attack 'evilediit'", "'eviledit'"),
        (lambda: Plan(anew=("scans",)), "no table 'scans'", "attack, scan, clean"),
        (lambda: steps("makes,scan"), "'scan' is nothing", "makes, scans, repairs"),
        (lambda: steps(" "), "no step is nothing", "makes, scans, repairs"),
    ],
)
def test_a_plan_of_what_there_is_not_is_refused(make, sentence, remedy) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=sentence) as wrong:
        make()
    assert remedy in wrong.value.remedy


def test_the_scanner_is_told_no_trigger_target_attack_or_hint() -> None:
    """What files suggest is a hint; the experiment suggests nothing."""
    assert list(inspect.signature(scans.judged).parameters) == ["measures", "suspect", "seed"]
    asked = inspect.getsource(scans.judged)
    assert not [word for word in ("case", "hint", "attack", "trigger") if word in asked]
