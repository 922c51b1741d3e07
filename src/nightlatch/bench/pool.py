"""The experiment's tasks spread over processes; one of them alone writes, and each row is kept as soon as it
exists.

Small models leave a card, and most cores, idle: several processes share them.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Protocol

from nightlatch.bench.orphans import end_with_parent
from nightlatch.bench.rows import Row, Rows, Say, Store

if TYPE_CHECKING:
    from nightlatch.bench.measures import Measures
    from nightlatch.bench.tasks import Task

LOOK = 1.0
"""Seconds between looks at the clock while nothing arrives."""


class Begins(Protocol):
    """What a process makes its tools from; it is sent there."""

    def begun(self, store: Store, say: Say) -> tuple[Measures, Rows]:
        """The tools, and the rows in ``store``."""


@dataclass(slots=True)
class _Worker:
    """One process, and the task that it is at."""

    process: SpawnProcess
    pipe: Connection[Any, Any]
    task: Task | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Some processes.

    Args:
        where: what each computes with.
        jobs: how many.
        say: called with their lines of progress.
        until: when to stop, by ``time.monotonic``; tasks in hand are then given up.
    """

    where: Begins
    jobs: int
    say: Say
    until: float = float("inf")

    def __call__(
        self,
        tasks: Sequence[Task],
        store: Store,
        known: Mapping[str, Row],
        kept: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """Do the ``tasks``, earlier ones first, two of one model never at once.

        Args:
            store: gets every row as soon as it is made.
            known: the rows that it has, by key.
            kept: called after each row.

        Returns:
            One sentence for each row that failed and for each task that was not done.
        """
        left, rows, failures = list(tasks), dict(known), list[str]()
        workers = [self._started() for _ in range(min(self.jobs, len(left)))]
        try:
            while workers and time.monotonic() < self.until:
                for worker in [w for w in workers if w.task is None]:
                    self._give(worker, workers, left, rows)
                for pipe in wait([w.pipe for w in workers], LOOK):
                    worker = next(w for w in workers if w.pipe is pipe)
                    try:
                        kind, content = worker.pipe.recv()
                    except EOFError:
                        failures.append(
                            f"{worker.task.model if worker.task else 'a process'}: the process ended early"
                        )
                        workers.remove(worker)
                        continue
                    if kind == "row":
                        key, row = content
                        rows[key] = row
                        store.add(key, row)
                        kept()
                    elif kind == "say":
                        self.say(content)
                    else:
                        failures += content
                        worker.task = None
        finally:
            left = [w.task for w in workers if w.task is not None] + left
            for worker in workers:
                worker.process.kill()
        return [*failures, *(f"{task.model}: not done" for task in left)]

    def _started(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self.where, theirs), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @staticmethod
    def _give(worker: _Worker, workers: list[_Worker], left: list[Task], rows: Mapping[str, Row]) -> None:
        """The next task that nobody is at the model of; a worker for which there will be none is let go."""
        busy = {w.task.model for w in workers if w.task is not None}
        free = next((task for task in left if task.model not in busy), None)
        if free is not None:
            left.remove(free)
            worker.task = free
            worker.pipe.send((free, rows))
        elif not left:
            worker.pipe.send(None)
            workers.remove(worker)


@dataclass(slots=True)
class _Sent:
    """The rows that a worker knows; a new one is sent to the process that writes."""

    pipe: Connection[Any, Any]
    rows: dict[str, Row] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        return key in self.rows

    def row(self, key: str) -> Row:
        return self.rows[key]

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        self.rows[key] = dict(row)
        self.pipe.send(("row", (key, self.rows[key])))


def _work(where: Begins, pipe: Connection[Any, Any]) -> None:
    """What a worker does until it is told that there is nothing left."""
    end_with_parent()
    store = _Sent(pipe)
    measures, rows = where.begun(store, lambda line: pipe.send(("say", line)))
    while (given := pipe.recv()) is not None:
        task, store.rows = given
        failed = len(rows.failures)
        try:
            task(measures, rows)
        except Exception as e:  # whatever it is, the other tasks are done, and it is said
            rows.failures.append(f"{task.model}: {type(e).__name__}: {e}")
        pipe.send(("done", rows.failures[failed:]))
