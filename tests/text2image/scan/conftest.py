"""A question about a tiny suspect, a small plan and a judge that draws few pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from nightlatch.records import Verdict
from nightlatch.text2image.effect.displacement import Displacement, Measure
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.scan import Confirmation, Judge, Question, Stage, TrustedBase, plan, scan

Ask = Callable[..., Question]
Scan = Callable[..., Verdict]


def quick() -> plan.Plan:
    """The default plan with every number that costs time at its smallest."""
    smallest = {"keep": 8, "strings": 2, "pieces": 24, "heads": 3, "random": 64, "joining": 24, "tails": 2}
    return plan.tuned(plan.default(), **smallest)


@pytest.fixture(scope="session")
def ask(texts: list[Prompt], few_steps: Sampling) -> Ask:
    """A question: (suspect, base, **other fields)."""

    def asked(suspect: Subject, base: Subject, **given: Any) -> Question:
        usual = {
            "texts": texts,
            "sampling": few_steps,
            "measure": Measure(contexts=2),
            "say": lambda line: None,
        }
        return Question(suspect=suspect, reference=TrustedBase(base=base), **{**usual, **given})

    return asked


@pytest.fixture(scope="session")
def judged(ask: Ask) -> Scan:
    """A quick scan: (suspect, base, stages, **fields of the question)."""

    def judge(suspect: Subject, base: Subject, stages: Sequence[Stage] = (), **given: Any) -> Verdict:
        small = Judge(confirmation=Confirmation(pictures=8))
        return scan(ask(suspect, base, **given), stages or quick(), small)

    return judge


@pytest.fixture
def displaced(texts: list[Prompt]) -> Callable[..., Displacement]:
    """Displacements in the first two prompts: (suspect, base, **other fields)."""

    def made(suspect: Subject, base: Subject, **given: Any) -> Displacement:
        return Displacement(
            suspect, TrustedBase(base=base), **{"contexts": texts[:2], "shared_text": False, **given}
        )

    return made
