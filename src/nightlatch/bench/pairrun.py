"""Runs the cells of the experiment on image-text models, several at once on one machine, and writes the
figures. Resumable.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from nightlatch import provenance, runs
from nightlatch.bench import pairs as cells_of
from nightlatch.bench.pairs import Bench, Profile, Row
from nightlatch.contrastive import metrics
from nightlatch.contrastive.pairs import Pairs
from nightlatch.testbed import corpus as corpora
from nightlatch.testbed.corpus import Corpus

FIGURES = {t: f"contrastive_{t}.json" for t in ("base", "attacks", "find", "clean", "scan")}
COMMAND = "python bench/device/contrastive.py --data DATA --out OUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run and on what.

    Args:
        out: folder of the rows and figures.
        data: folder with the packed data sets; None for emoji scenes alone.
        seconds: after which no further cell is begun; what runs then is given up at one and a tenth of it.
        workers: processes that share the device; 0 runs every cell in this one.
    """

    out: Path
    data: Path | None
    profile: Profile
    seeds: tuple[int, ...] = (0, 1, 2)
    tables: tuple[str, ...] = tuple(FIGURES)
    device: str = "cpu"
    dtype: str = "float32"
    workers: int = 0
    seconds: float = 1e9
    models: Path | None = None
    commit: str = ""
    """Of the code, where there is no checkout to ask."""

    @property
    def kept(self) -> Path:
        """Folder of the models and of the decoded pictures."""
        return self.models or self.out / "models"


_BENCH: list[Bench] = []
"""Of this worker process; one, or none yet."""


def run(plan: Plan) -> int:
    """All cells that ``plan`` asks for and that are not done; returns how many failed."""
    started = time.monotonic()
    plan.kept.mkdir(parents=True, exist_ok=True)
    decoded = prepare(plan)
    say(f"{time.monotonic() - started:.0f} s: pictures decoded")
    with runs.Run(plan.out, command=COMMAND) as folder:
        wanted = [c for c in cells_of.cells(plan.seeds, plan.profile) if c["table"] in plan.tables]
        queue = with_needs([c for c in wanted if not folder.has(runs.key(c))], plan)
        failed = Work(plan=plan, folder=folder, queue=queue, started=started).all(decoded)
        write_figures(folder, plan)
    say(f"{time.monotonic() - started:.0f} s: done, {failed} cells failed")
    return failed


def with_needs(todo: Sequence[Row], plan: Plan) -> list[Row]:
    """``todo`` with the cells before it whose models are gone, each once, in order."""
    made: list[Row] = []
    for cell in todo:
        for needed in (*cells_of.needs(cell), cell):
            if needed not in made and (needed == cell or not folder_of(plan, needed).is_dir()):
                made.append(dict(needed))
    return made


def folder_of(plan: Plan, cell: Mapping[str, Any]) -> Path:
    """Where the model of ``cell`` lies."""
    return Bench._folder(Bench(corpus=None, models=plan.kept, profile=plan.profile), cell)  # type: ignore[arg-type]


def prepare(plan: Plan) -> Path:
    """Decode all pictures once, into one file that every worker maps."""
    path = plan.kept / "corpus.pt"
    if not path.is_file():
        made = corpora.build(plan.profile.shape.size, plan.profile.scenes, 0, plan.data, plan.profile.most)
        parts = {
            p: (getattr(made, p).images, list(getattr(made, p).captions))
            for p in ("train", "trusted", "retrieval")
        }
        test = made.test
        torch.save(
            {
                **parts,
                "test": (test.images, torch.from_numpy(test.labels), list(test.classes), list(test.domains)),
            },
            path,
        )
    return path


def corpus(path: Path, device: str) -> Corpus:
    """The decoded corpus on ``device``."""
    z = torch.load(path, weights_only=True, mmap=True)
    part = {
        p: Pairs(images=z[p][0].to(device), captions=tuple(z[p][1]))
        for p in ("train", "trusted", "retrieval")
    }
    images, labels, classes, domains = z["test"]
    test = metrics.ZeroShot(
        images=images.to(device), labels=labels.numpy(), classes=tuple(classes), domains=tuple(domains)
    )
    return Corpus(**part, test=test)


def begin(path: Path, plan: Plan) -> None:
    """Make this process ready for cells."""
    torch.set_num_threads(1 if plan.workers else torch.get_num_threads())
    torch.set_float32_matmul_precision("high")
    dtype = getattr(torch, plan.dtype)
    loaded = corpus(path, plan.device)
    _BENCH[:] = [
        Bench(corpus=loaded, models=plan.kept, profile=plan.profile, device=plan.device, dtype=dtype)
    ]


def one(cell: Row) -> tuple[Row, Row | None, str]:
    """(cell, its row, "") or (cell, None, what went wrong)."""
    try:
        return cell, _BENCH[0].run(cell), ""
    except Exception as e:
        return cell, None, f"{type(e).__name__}: {e}\n{traceback.format_exc(limit=-3)}"


@dataclass(kw_only=True)
class Work:
    """Cells that wait, in order; a cell starts when the models that it needs are there."""

    plan: Plan
    folder: runs.Run
    queue: list[Row]
    started: float
    failed: int = 0
    written: float = 0.0

    def all(self, decoded: Path) -> int:
        """Run them; returns how many failed."""
        if self.plan.workers == 0:
            begin(decoded, self.plan)
            while self.queue and self._in_time() and (cell := self._next(())) is not None:
                self._note(*one(cell))
            return self.failed
        context = multiprocessing.get_context("spawn")
        pool = context.Pool(self.plan.workers, initializer=begin, initargs=(decoded, self.plan))
        try:
            self._spread(pool)
        finally:
            pool.terminate()
            pool.join()
        return self.failed

    def _spread(self, pool: Any) -> None:
        running: list[tuple[Row, Any]] = []
        while (self.queue and self._in_time()) or running:
            if time.monotonic() - self.started > 1.1 * self.plan.seconds:
                say(f"time is up, {len(running)} cells given up")
                return
            while (
                self._in_time()
                and len(running) < self.plan.workers
                and (cell := self._next([c for c, _ in running])) is not None
            ):
                running.append((cell, pool.apply_async(one, (cell,))))
            done = [r for r in running if r[1].ready()]
            running = [r for r in running if not r[1].ready()]
            for _, result in done:
                self._note(*result.get())
            if not running and not done and self.queue:
                say(f"{len(self.queue)} cells lack a model that could not be made")
                return
            time.sleep(0.02)

    def _in_time(self) -> bool:
        return time.monotonic() - self.started < self.plan.seconds

    def _next(self, running: Sequence[Row]) -> Row | None:
        """The first cell whose needs are met; cells whose needs failed are dropped."""
        for cell in self.queue:
            if all(
                n not in self.queue and n not in running and folder_of(self.plan, n).is_dir()
                for n in cells_of.needs(cell)
            ):
                self.queue.remove(cell)
                return cell
        if not running:
            self.queue.clear()
        return None

    def _note(self, cell: Row, row: Row | None, wrong: str) -> None:
        label = " ".join(str(v) for v in cell.values() if v != "")
        if row is None:
            self.failed += 1
            say(f"FAILED {label}: {wrong}")
            return
        if not self.folder.has(runs.key(cell)):
            self.folder.add(runs.key(cell), {**cell, **row})
        say(f"{time.monotonic() - self.started:.0f} s: {label} ({row['seconds']} s) {short(row)}")
        if time.monotonic() - self.written > 20:
            write_figures(self.folder, self.plan)
            self.written = time.monotonic()


def short(row: Row) -> str:
    """The numbers worth watching."""
    shown = {
        k: (v.rate if hasattr(v, "rate") else v)
        for k, v in row.items()
        if k not in ("seconds", "record", "domains")
    }
    return ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())


def write_figures(folder: runs.Run, plan: Plan) -> None:
    """One file per table, rows in the order of their identity."""
    for table, file in FIGURES.items():
        head = {"commit": plan.commit} if plan.commit else {}
        rows = [
            {**head, **{k: v for k, v in r.items() if k != "table"}}
            for r in folder.rows()
            if r["table"] == table
        ]
        rows.sort(
            key=lambda r: [
                str(r.get(k, ""))
                for k in ("seed", "attack", "honest", "method", "setting", "finder", "judge")
            ]
        )
        if rows:
            provenance.write_figures(plan.out / file, rows, COMMAND, 0)


def say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)
