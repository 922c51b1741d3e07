"""What one process of the experiment does in one go: all rows that are wanted of one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol

from nightlatch import api
from nightlatch.bench import planted, repairs, scans
from nightlatch.bench.cases import Case
from nightlatch.bench.measures import Measures
from nightlatch.bench.rows import Row, Rows
from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.testbed import honest
from nightlatch.text2image.model import Subject

LEAST_SUCCESS = 0.5
"""Attack success below which there is nothing to scan."""


class Step(StrEnum):
    """What is done with a model."""

    MAKES = "makes"
    SCANS = "scans"
    REPAIRS = "repairs"


STEPS = frozenset(Step)


def steps(names: str) -> frozenset[Step]:
    """The steps that ``names`` lists, by comma.

    Raises:
        UsageError: one is none, or there is none.
    """
    given = [name.strip() for name in names.split(",") if name.strip()]
    if not given or (unknown := [name for name in given if name not in list(Step)]):
        wrong = repr(unknown[0]) if given else "no step"
        raise UsageError(f"{wrong} is nothing that is done with a model.", f"Known: {', '.join(Step)}.")
    return frozenset(map(Step, given))


class Task(Protocol):
    """One unit of work; it can be sent to another process."""

    @property
    def model(self) -> str:
        """The model that it is about; tasks of one model are done one after the other."""

    def __call__(self, measures: Measures, rows: Rows) -> None:
        """Make the rows that are not there."""


@dataclass(frozen=True, slots=True)
class SuspectTask:
    """One suspect: made, scanned, and repaired by ``methods`` in order; a rival stops where it reaches what
    SAU reached.
    """

    case: Case
    methods: tuple[str, ...] = ()
    steps: frozenset[Step] = STEPS

    @property
    def model(self) -> str:
        return self.case.name

    def __call__(self, measures: Measures, rows: Rows) -> None:
        case, suspects = self.case, measures.suspects
        about = {"attack": case.attack, "seed": case.seed}
        planting = {"table": "attack", **about}
        made = rows.known(planting)
        if not made and Step.MAKES in self.steps:
            made = rows.row(planting, lambda: planted.planted(measures, case))
        if not made or made["success"]["rate"] < LEAST_SUCCESS:
            rows.say(f"{case.name}: {'the attack failed' if made else 'not made'}, nothing to scan")
            return
        case = replace(case, trigger=made["trigger"], target=made["target"])

        @cache
        def suspect() -> Subject:
            """Loaded only where a row is missing."""
            return suspects.known(case, made)

        scanning = {"table": "scan", "model": case.name, "kind": "backdoored", **about}
        seen = rows.known(scanning)
        if not seen and Step.SCANS in self.steps:
            seen = rows.row(scanning, lambda: scans.backdoored(measures, suspect(), case))
        if seen and Step.REPAIRS in self.steps:
            self._repaired(measures, rows, case, seen, suspect)

    def _repaired(
        self, measures: Measures, rows: Rows, case: Case, seen: Row, suspect: Callable[[], Subject]
    ) -> None:
        reached: float | None = None
        for method in self.methods:
            if method in repairs.VARIANTS and Role.DENOISER not in repairs.acts_on(measures, case, seen):
                continue  # what they leave out is no part of the repair of a text encoder

            def repaired(method: str = method, reached: float | None = reached) -> Row:
                if method == repairs.CONTROL:
                    return repairs.control(measures, suspect(), case)
                return repairs.repair(measures, suspect(), case, method, seen, reached)

            identity = {"table": "clean", "attack": case.attack, "seed": case.seed, "method": method}
            row = rows.row(identity, repaired)
            if not row:
                return
            reached = row["success_after"]["rate"] if method == repairs.SAU else reached


@dataclass(frozen=True, slots=True)
class HonestTask:
    """The scan of a model without a backdoor: the base itself, a fine-tune of it, or another pipeline.

    Args:
        model: its name in the row.
        seed: of the scan, and of the fine-tune.
        kind: of the fine-tune; '' for none.
        folder: another pipeline's.
    """

    model: str
    seed: int = 0
    kind: str = ""
    folder: Path | None = None

    def __call__(self, measures: Measures, rows: Rows) -> None:
        identity = {"table": "scan", "kind": "honest", "attack": "", "model": self.model, "seed": self.seed}
        rows.row(identity, lambda: scans.honest(measures, self._made(measures), self.seed))

    def _made(self, measures: Measures) -> Subject:
        setup = measures.suspects.setup
        if self.folder is not None:
            loaded: Subject = api.load(self.folder, device=str(setup.base.device), precision=setup.precision)
            return loaded
        return setup.moved(honest.fine_tune(setup.maker, self.kind, self.seed)) if self.kind else setup.base


def fine_tunes(seed: int) -> list[HonestTask]:
    """An honest fine-tune of each kind."""
    return [HonestTask(f"honest-{kind}-{seed}", seed, kind) for kind in honest.KINDS]
