"""The experiment's tasks over several processes: every row is kept, and what goes wrong takes no more with it
than its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from nightlatch import runs
from nightlatch.bench.pool import Pool
from nightlatch.bench.rows import Rows


def silent(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Bare:
    """A place to work where no model is needed."""

    def begun(self, store: Any, say: Any) -> tuple[Any, Rows]:
        return None, Rows(store=store, about={}, say=say)


@dataclass(frozen=True)
class Made:
    """A task that makes one row of a model, or does not come to it."""

    model: str
    seed: int = 0
    end: str = ""

    def __call__(self, measures: Any, rows: Rows) -> None:
        began = time.time()
        if self.end == "dies":
            os._exit(3)
        if self.end == "never":
            time.sleep(600)
        if self.end == "raises":
            raise KeyError("a fault of its own")
        known = [
            rows.known({"attack": self.model, "seed": seed, "table": "attack"}) for seed in range(self.seed)
        ]
        time.sleep(0.2)
        row = {
            "known": len([row for row in known if row]),
            "process": os.getpid(),
            "began": began,
            "ended": time.time(),
        }
        rows.row({"table": "attack", "attack": self.model, "seed": self.seed}, lambda: row)


def test_tasks_are_shared_by_processes_and_every_row_is_kept(tmp_path: Path) -> None:
    """Two tasks of one model are done one after the other, the second with what the first one made."""
    kept: list[int] = []
    tasks = [
        Made("a"),
        Made("a", 1),
        Made("b"),
        Made("c", end="raises"),
        Made("d"),
        Made("e", end="dies"),
        Made("f"),
    ]
    with runs.Run(tmp_path / "run") as run:
        pool = Pool(where=Bare(), jobs=3, say=silent)
        failed = pool(tasks, run, {}, lambda: kept.append(len(run.rows())))
        rows = {(row["attack"], row["seed"]): row for row in run.rows()}
    assert sorted(rows) == [("a", 0), ("a", 1), ("b", 0), ("d", 0), ("f", 0)]
    assert kept == [1, 2, 3, 4, 5]
    assert rows["a", 1]["known"] == 1 and rows["a", 1]["began"] >= rows["a", 0]["ended"]
    assert sorted(failed) == ["c: KeyError: 'a fault of its own'", "e: the process ended early"]


def test_what_there_was_no_time_for_is_said(tmp_path: Path) -> None:
    tasks = [Made("a", end="never"), Made("b")]
    with runs.Run(tmp_path / "run") as run:
        failed = Pool(where=Bare(), jobs=1, say=silent, until=time.monotonic() + 2)(tasks, run, {})
        assert failed == ["a: not done", "b: not done"]
        assert not run.rows()


ORPHAN = """
import multiprocessing, os, time
from nightlatch.bench.orphans import end_with_parent

def work(pipe):
    end_with_parent()
    pipe.send(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=work, args=(theirs,)).start()
    print(ours.recv(), flush=True)
    time.sleep(600)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "orphan.py").write_text(ORPHAN)
    parent = subprocess.Popen([sys.executable, tmp_path / "orphan.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    assert worker.is_running()
    parent.kill()
    parent.wait()
    until = time.monotonic() + 120
    while not ended(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert ended(worker)


def ended(process: psutil.Process) -> bool:
    """Gone, or waiting to be collected by a first process that does not."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
