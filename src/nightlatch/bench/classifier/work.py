"""Run tasks on one device with several processes, keep every row as soon as it is there, and stop in time."""

from __future__ import annotations

import queue
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.multiprocessing as mp

from nightlatch import runs
from nightlatch.bench.classifier.lab import Lab, Row
from nightlatch.bench.classifier.tasks import Task, tasks
from nightlatch.bench.orphans import end_with_parent

Say = Callable[[str], None]
WAIT = 0.2


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task: rows, or why there are none."""

    name: str
    rows: list[Row]
    failed: str
    seconds: float


def attempt(task: Task, lab: Lab) -> Done:
    """Do ``task``; what goes wrong is a sentence, so that the other tasks go on."""
    started = time.monotonic()
    try:
        rows = task.work(lab)
        if lab.device.startswith("cuda"):
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        return Done(task.name, rows, "", time.monotonic() - started)
    except Exception as e:
        traceback.print_exc()
        return Done(task.name, [], f"{type(e).__name__}: {e}"[:300], time.monotonic() - started)


def worker(lab: Lab, todo: Any, done: Any) -> None:
    """Take tasks until there is none."""
    end_with_parent()
    torch.set_num_threads(1)
    if lab.device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    while (task := todo.get()) is not None:
        done.put(attempt(task, lab))


class Ledger:
    """What is done, kept in a run folder.

    Args:
        run: open for writing.
        lab: where products are.
        about: what the rows depend on.
        more: what is noted beside them.
    """

    def __init__(self, run: runs.Run, lab: Lab, about: Row, more: Row) -> None:
        self.run, self.lab, self.about, self.more = run, lab, about, more

    def key(self, task: Task) -> str:
        return runs.key({"task": task.name, **self.about})

    def finished(self, task: Task) -> bool:
        """Whether its rows are there, and its product where something may need it."""
        return self.run.has(self.key(task)) and (
            not task.makes or self.lab.path(task.name).is_file() or self.refused(task)
        )

    def refused(self, task: Task) -> bool:
        """Whether it has told that there is no product: an attack that was too weak, and was not kept."""
        said = any(row.get("refused") for row in self.run.row(self.key(task))["rows"])
        return said and not self.lab.path(task.name).is_file()

    def add(self, task: Task, done: Done) -> None:
        if not done.failed and not self.run.has(self.key(task)):
            rows = [{**row, **self.about, **self.more} for row in done.rows]
            self.run.add(self.key(task), {"task": done.name, "seconds": round(done.seconds, 2), "rows": rows})


def ready(left: list[Task], ledger: Ledger, by_name: dict[str, Task], failed: set[str]) -> Task | None:
    """The first task whose needs are met; those that can never be are taken off ``left``."""
    for task in list(left):
        needs = [by_name[n] for n in task.needs]
        if any(n.name in failed or (ledger.run.has(ledger.key(n)) and ledger.refused(n)) for n in needs):
            left.remove(task)
            failed.add(task.name)
        elif all(ledger.finished(n) and ledger.lab.path(n.name).is_file() for n in needs):
            return task
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How tasks are done.

    Args:
        workers: processes; 0 works in this one.
        seconds: after which no task is begun and running ones are given up; 0 for no end.
        only: texts of which the name of a task must contain one, or be needed by one that does; () for all.
        commit: of the code, where the checkout does not say it.
        known: rows of earlier runs by task; these tasks are not done again, but where another needs what they
            made it is made anew.
    """

    workers: int = 0
    seconds: float = 0.0
    only: tuple[str, ...] = ()
    commit: str = ""
    known: Mapping[str, Sequence[Row]] = field(default_factory=dict)


def work(run: runs.Run, lab: Lab, say: Say, how: How = How()) -> list[str]:
    """Do what is not done yet; returns the names of what is left."""
    workers, seconds = how.workers, how.seconds
    about = {"width": lab.plan.width, "half": lab.half, "device": kind(lab.device)}
    about |= {"profile": lab.plan.profile} if lab.plan.profile else {}
    ledger = Ledger(run, lab, about, {"commit": how.commit} if how.commit else {})
    every = tasks(lab.plan)
    by_name = {t.name: t for t in every}
    every = [t for t in every if not set(t.needs) & refused(how.known)]
    wanted = needed(every, by_name, how.only, how.known)
    left = [t for t in every if t.name in wanted and not ledger.finished(t)]
    for again in left:
        if run.has(ledger.key(again)):  # its product is gone: it is made anew, its rows stay
            say(f"{again.name}: made anew")
    started, failed = time.monotonic(), set[str]()

    def over() -> bool:
        return bool(seconds) and time.monotonic() - started > seconds

    if not workers:
        while not over() and (task := ready(left, ledger, by_name, failed)):
            left.remove(task)
            note(ledger, by_name, attempt(task, lab), failed, say, started)
        return [t.name for t in left]
    context = mp.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    pool = [context.Process(target=worker, args=(lab, todo, done), daemon=True) for _ in range(workers)]
    for p in pool:
        p.start()
    busy: set[str] = set()
    try:
        while not over() and (left or busy):
            while len(busy) < workers and (task := ready(left, ledger, by_name, failed)):
                left.remove(task)
                busy.add(task.name)
                todo.put(task)
            try:
                got = done.get(timeout=WAIT)
            except queue.Empty:
                if not any(p.is_alive() for p in pool):
                    say("all workers are gone")
                    break
                if not busy and ready(left, ledger, by_name, failed) is None:
                    break
                continue
            busy.discard(got.name)
            note(ledger, by_name, got, failed, say, started)
    finally:
        for p in pool:
            p.terminate()
    return [*busy, *(t.name for t in left)]


def note(
    ledger: Ledger, by_name: dict[str, Task], done: Done, failed: set[str], say: Say, started: float
) -> None:
    """Keep the rows of ``done`` and say so."""
    ledger.add(by_name[done.name], done)
    if done.failed:
        failed.add(done.name)
    say(
        f"{time.monotonic() - started:6.1f} s  {done.name}: {done.failed or f'{len(done.rows)} rows'} in {done.seconds:.1f} s"
    )


def refused(known: Mapping[str, Sequence[Row]]) -> set[str]:
    """Names of the victims that no setting made in an earlier run."""
    tried = {name: [r for r in rows if "refused" in r] for name, rows in known.items()}
    return {name for name, rows in tried.items() if rows and all(r["refused"] for r in rows)}


def needed(
    every: list[Task], by_name: dict[str, Task], only: tuple[str, ...], known: Mapping[str, Sequence[Row]]
) -> set[str]:
    """Names of the tasks that ``only`` asks for and that are not ``known``, and of all that they need."""
    asked = (t.name for t in every if not only or any(part in t.name for part in only))
    wanted = {name for name in asked if name not in known}
    grown = True
    while grown:
        more = {n for name in wanted for n in by_name[name].needs} - wanted
        wanted |= more
        grown = bool(more)
    return wanted


def kind(device: str) -> str:
    """What a figure says it was computed on."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else device
