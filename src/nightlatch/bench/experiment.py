"""The whole experiment, one resumable command, and the figures it leaves.

An interrupted run goes on where it stopped, and figures are written after every model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightlatch import runs
from nightlatch.bench import figures, tables
from nightlatch.bench.cases import SEEDS, Case, attacks, cases
from nightlatch.bench.pool import Pool
from nightlatch.bench.repairs import CONTROL, SAU
from nightlatch.bench.rows import Say
from nightlatch.bench.setup import about, rare_words
from nightlatch.bench.tasks import STEPS, HonestTask, Step, SuspectTask, Task, fine_tunes
from nightlatch.bench.where import Where
from nightlatch.errors import UsageError
from nightlatch.text2image.attacks import ATTACKS

RIVALS = ("skd", "uce", "clean-finetune", "restore", "strip")
OTHERS = ("sau-base", "sau: no warm start")
"""What is worth knowing beside the rivals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run; parts of one plan may be run on several machines, and joined by ``taken``.

    Args:
        seeds: of the suspects; the rivals are run on the first.
        attacks: of the suspects, any that is registered; all of them where none is named.
        steps: what is done with each model.
        rivals: whether to run the rivals, too.
        tuned: whether to scan an honest fine-tune of each kind for each seed.
        honest: folders of further honest pipelines, scanned against the testbed.
        taken: folders with figures of other machines, whose rows are taken over.
        anew: tables of the figures whose rows are not taken over but made again.

    Raises:
        UsageError: no such attack, step or table.
    """

    seeds: Sequence[int] = SEEDS
    attacks: Sequence[str] = ()
    steps: frozenset[Step] = STEPS
    rivals: bool = True
    tuned: bool = True
    honest: Sequence[Path] = ()
    taken: Sequence[Path] = ()
    anew: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.attacks:
            ATTACKS.find(name)
        for table in self.anew:
            if table not in figures.FIGURES:
                raise UsageError(f"There is no table {table!r}.", f"Known: {', '.join(figures.FIGURES)}.")

    def suspects(self, rare: Sequence[str], seeds: Sequence[int]) -> list[Case]:
        return cases(rare, seeds, self.attacks or attacks())

    def tasks(self, rare: Sequence[str]) -> list[Task]:
        """Everything, in the order in which it is most useful when it is cut short.

        Seed by seed attack, scan and SAU, then the honest models of that seed; then the rivals of the first
        seed, and last what the base itself shows in each case.
        """
        made: list[Task] = [HonestTask("base")] if Step.SCANS in self.steps else []
        for seed in self.seeds:
            made += [SuspectTask(case, (SAU,), self.steps) for case in self.suspects(rare, (seed,))]
            made += fine_tunes(seed) if self.tuned and Step.SCANS in self.steps else []
        if Step.SCANS in self.steps:
            made += [HonestTask(path.name, folder=path) for path in self.honest]
        if Step.REPAIRS in self.steps:
            for methods in (RIVALS, OTHERS) if self.rivals else ():
                made += [
                    SuspectTask(case, (SAU, *methods), self.steps)
                    for case in self.suspects(rare, self.seeds[:1])
                ]
            made += [
                SuspectTask(case, (SAU, CONTROL), self.steps) for case in self.suspects(rare, self.seeds)
            ]
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of the experiment.

    Args:
        run: where rows are kept.
        figures: where they are written as tables, and ``page``, the page of results, if one is wanted.
        where: what is computed with.
        jobs: how many processes share the work; 1 does it in this one.
        limit: seconds after which what is not done is left, for the next call to go on with.
        say: called with one line of progress.
    """

    run: runs.Run
    figures: Path
    page: Path | None
    where: Where
    jobs: int = 1
    limit: float = float("inf")
    say: Say = print

    def __call__(self, plan: Plan) -> list[str]:
        """Make what ``plan`` asks for and is not there; returns one sentence for each thing that failed or
        was not done.
        """
        for table in figures.FIGURES:
            for folder in (self.figures, *plan.taken) if table not in plan.anew else ():
                figures.remember(self.run, folder, self.about, (table,))
        self.write()
        return self.do(plan.tasks(rare_words()))

    def do(self, tasks: Sequence[Task]) -> list[str]:
        """The rows of ``tasks`` that are not there."""
        until = time.monotonic() + self.limit
        if self.jobs > 1:
            rows = self.run.rows()
            known = {figures.identity(row["table"], row, self.about): row for row in rows}
            where = self.where.sharing(self.jobs)
            return Pool(where=where, jobs=self.jobs, say=self.say, until=until)(
                tasks, self.run, known, self.write
            )
        measures, made = self.where.begun(self.run, self.say)
        undone: list[str] = []
        for task in tasks:
            if time.monotonic() < until:
                task(measures, made)
                self.write()
            else:
                undone.append(f"{task.model}: not done")
        return [*made.failures, *undone]

    @property
    def about(self) -> dict[str, object]:
        """What all rows depend on."""
        return about(self.where.n)

    def write(self) -> None:
        """The figures, and the page, from the rows so far."""
        figures.write(self.run, self.figures, self.about)
        if self.page is not None:
            tables.write(self.figures, self.page)
