"""Runs the cells of the experiment on image-text models, several at once on one machine, within a time limit;
resumable. Rows become figures afterwards, on any machine.
"""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from nightlatch import runs
from nightlatch.bench import pairs as cells_of
from nightlatch.bench.orphans import end_with_parent
from nightlatch.bench.pairs import Profile, Row
from nightlatch.bench.pairwork import Bench, folder_of
from nightlatch.contrastive import metrics, recorded
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms import ImageText
from nightlatch.contrastive.trainer import Trainer
from nightlatch.testbed import corpus as corpora
from nightlatch.testbed import pairclip
from nightlatch.testbed.corpus import Corpus

TABLES = ("base", "attacks", "find", "clean", "scan")
COMMAND = "python bench/device/contrastive.py --data DATA --out OUT"
LAST = 0.94
"""Share of the limit after which no cell begins; the longest take about a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run and on what.

    Args:
        out: folder of the rows.
        data: folder with the packed data sets; None for emoji scenes alone.
        limit: seconds after which everything ends.
        attacks: of which cells are run, those without an attack too; () for all.
        cleaners: as "method/setting", of which cells are run; () for all.
        jobs: processes that share the device; 0 runs every cell in this one.
        models: folder of the models and of the decoded pictures.
        facts: commit and device, kept in every row.
    """

    out: Path
    data: Path | None
    profile: Profile
    seeds: tuple[int, ...] = (0, 1, 2)
    tables: tuple[str, ...] = TABLES
    attacks: tuple[str, ...] = ()
    cleaners: tuple[str, ...] = ()
    device: str = "cpu"
    jobs: int = 0
    limit: float = 1e9
    models: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="pairs-")))
    facts: Mapping[str, str] = field(default_factory=dict)

    def asks(self, cell: Row) -> bool:
        """Whether ``cell`` is to be run."""
        named = f"{cell.get('method')}/{cell.get('setting')}"
        return (
            cell["table"] in self.tables
            and (not self.attacks or cell["attack"] in ("", *self.attacks))
            and (not self.cleaners or cell["table"] != "clean" or named in self.cleaners)
        )

    @property
    def decoded(self) -> Path:
        return self.models / "corpus.pt"


_BENCH: dict[Path, Bench] = {}
"""Of this process, by the folder of the models."""


def run(plan: Plan) -> int:
    """All cells that ``plan`` asks for and that are not done; returns how many failed."""
    started = time.monotonic()
    plan.models.mkdir(parents=True, exist_ok=True)
    pool = multiprocessing.get_context("spawn").Pool(plan.jobs, end_with_parent) if plan.jobs else None
    try:
        prepare(plan, pool)
        say(f"{time.monotonic() - started:.0f} s: pictures decoded")
        with runs.Run(plan.out, command=COMMAND) as folder:
            wanted = [c for c in cells_of.cells(plan.seeds, plan.profile) if plan.asks(c)]
            queue = with_needs([c for c in wanted if not folder.has(runs.key(c))], plan)
            failed = Work(plan=plan, folder=folder, queue=queue, started=started).all(pool)
    finally:
        if pool is not None:
            pool.terminate()
            pool.join()
    say(f"{time.monotonic() - started:.0f} s: done, {failed} cells failed")
    return failed


def with_needs(todo: Sequence[Row], plan: Plan) -> list[Row]:
    """``todo`` with the cells before it whose models are gone, each once, in order."""
    made: list[Row] = []
    for cell in todo:
        for needed in (*cells_of.needs(cell), cell):
            if needed not in made and (needed == cell or not folder_of(plan.models, needed).is_dir()):
                made.append(dict(needed))
    return made


def prepare(plan: Plan, pool: Any = None) -> None:
    """Draw and decode all pictures once, into one file that every worker maps."""
    if plan.decoded.is_file():
        return
    p, spread = plan.profile, map if pool is None else partial(pool.imap, chunksize=1)
    made = corpora.build(p.shape.size, p.scenes, 0, plan.data, p.most, spread)
    parts = {
        name: (part.images, list(part.captions))
        for name, part in {"train": made.train, "trusted": made.trusted, "retrieval": made.retrieval}.items()
    }
    test = made.test
    shown = (test.images, torch.from_numpy(test.labels), list(test.classes), list(test.domains))
    torch.save({**parts, "test": shown}, plan.decoded)


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


def bench(plan: Plan) -> Bench:
    """What the cells of ``plan`` share in this process; made at the first call."""
    if plan.models not in _BENCH:
        torch.set_num_threads(1 if plan.jobs else torch.get_num_threads())
        torch.set_float32_matmul_precision("high")
        loaded = corpus(plan.decoded, plan.device)
        if plan.device != "cpu":
            say(agreement(pairclip.fresh(plan.profile.shape, 0).to(plan.device), loaded.trusted))
        made = Bench(corpus=loaded, models=plan.models, profile=plan.profile, device=plan.device)
        _BENCH[plan.models] = made
    return _BENCH[plan.models]


def agreement(subject: Subject, pairs: Pairs) -> str:
    """Whether recorded steps train as usual ones do; where they do not, this process records none."""
    trainer, few = Trainer(terms=[ImageText()], steps=12, batch=32), pairs.at(range(min(256, len(pairs))))

    def losses() -> torch.Tensor:
        student = subject.copy()
        return torch.stack([v["image-text"] for _, v in trainer.run(student, subject, few, 0)])

    try:
        with recorded.never():
            usual = losses()
        apart = float((losses() - usual).abs().max())
    except RuntimeError as e:
        recorded.stop()
        return f"steps cannot be recorded here: {str(e)[:300]}"
    if apart > 0.05:
        recorded.stop()
    return f"recorded steps differ from usual ones by {apart:.2g} at most" + (
        ", unused" if apart > 0.05 else ""
    )


def one(plan: Plan, cell: Row) -> tuple[Row, Row | None, str]:
    """(cell, its row, "") or (cell, None, what went wrong)."""
    try:
        return cell, bench(plan).run(cell), ""
    except Exception as e:
        return cell, None, f"{type(e).__name__}: {e}\n{traceback.format_exc()}"


@dataclass(kw_only=True)
class Work:
    """Cells that wait, in order; a cell starts when the models that it needs are there."""

    plan: Plan
    folder: runs.Run
    queue: list[Row]
    started: float
    failed: int = 0

    def all(self, pool: Any) -> int:
        """Run them; returns how many failed."""
        if pool is not None:
            self._spread(pool)
            return self.failed
        while self._open() and (cell := self._next(())) is not None:
            self._note(*one(self.plan, cell))
        return self.failed

    def _spread(self, pool: Any) -> None:
        running: list[tuple[Row, Any]] = []
        while running or self._open():
            if time.monotonic() - self.started > self.plan.limit - 4:
                say(f"time is up, {len(running)} cells given up")
                return
            while self._open() and len(running) < self.plan.jobs:
                cell = self._next([c for c, _ in running])
                if cell is None:
                    break
                running.append((cell, pool.apply_async(one, (self.plan, cell))))
            done = [r for r in running if r[1].ready()]
            running = [r for r in running if not r[1].ready()]
            for _, result in done:
                self._note(*result.get())
            time.sleep(0.02)

    def _open(self) -> bool:
        """Whether a cell may begin."""
        return bool(self.queue) and time.monotonic() - self.started < LAST * self.plan.limit

    def _next(self, running: Sequence[Row]) -> Row | None:
        """The first cell whose needs are met; where nothing runs and none is, the rest is given up."""
        for cell in self.queue:
            if all(self._there(n, running) for n in cells_of.needs(cell)):
                self.queue.remove(cell)
                return cell
        if not running:
            say(f"{len(self.queue)} cells lack a model that could not be made")
            self.queue.clear()
        return None

    def _there(self, needed: Row, running: Sequence[Row]) -> bool:
        waits = needed in self.queue or needed in running
        return not waits and folder_of(self.plan.models, needed).is_dir()

    def _note(self, cell: Row, row: Row | None, wrong: str) -> None:
        label = " ".join(str(v) for v in cell.values() if v != "")
        if row is None:
            self.failed += 1
            say(f"FAILED {label}: {wrong}")
            return
        if not self.folder.has(runs.key(cell)):
            self.folder.add(runs.key(cell), {**cell, **self.plan.facts, **row})
        say(f"{time.monotonic() - self.started:.0f} s: {label} ({row['seconds']} s) {short(row)}")


def short(row: Mapping[str, Any]) -> str:
    """The numbers worth watching."""
    made = []
    for name, value in row.items():
        if name in ("seconds", "domains", "tries"):
            continue
        if name == "finders":
            made += [f"{k} {v['auroc']:.3f}/{v['precision_at_k']:.2f}" for k, v in value.items()]
            continue
        shown = getattr(value, "rate", value)
        made.append(f"{name} {shown:.3f}" if isinstance(shown, float) else f"{name} {shown}")
    return ", ".join(made)


def say(line: str) -> None:
    print(line, flush=True)
