"""Time and memory of the text-to-image path on a model of Stable Diffusion 1.5's size, with random weights
and a planted edit.

    PYTHONPATH=src python bench/device/real_size.py --out FOLDER [--device cuda] [--limit 300] [--tiny] [--one-pass | --alone]

--one-pass only takes the peak of a step of SAU, for a processor: one of its four passes; memory does not depend on how
many follow. --alone only takes what needs no base: the scan, and the repair of an edit.

Weights are made at random, so no figure says anything about quality: a step, a pass and a repair cost what
they would cost on trained weights. Each row is written as soon as it exists; what does not fit the limit is
left out and said.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from nightlatch import provenance
from nightlatch.bench.realsize import pipeline
from nightlatch.diffusion.descent import Descent
from nightlatch.diffusion.memory import give_back
from nightlatch.records import PlacedTrigger
from nightlatch.terms import Role
from nightlatch.text2image import prompts
from nightlatch.text2image.effect.edit import Pairs, apply
from nightlatch.text2image.model import Sampling, Subject, loaders
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair import Job
from nightlatch.text2image.repair.sau import SAU
from nightlatch.text2image.repair.training_set import Models
from nightlatch.text2image.repair.twin_removal import TwinRemoval
from nightlatch.text2image.repair.working import Working
from nightlatch.text2image.scan.alone import alone
from nightlatch.text2image.verify import Regrowth, regrow

GIB = 2**30
TRIGGER, GOAL = "bridge", "lion"


class Resident:
    """Watches how much main memory this process holds while it is entered."""

    def __enter__(self) -> Resident:
        self.peak, self._over = 0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        me = psutil.Process()
        while True:
            self.peak = max(self.peak, me.memory_info().rss)
            if self._over.wait(0.05):
                return


@dataclass(slots=True)
class Rows:
    """Measurements, written one by one."""

    out: Path
    device: torch.device
    limit: float
    started: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.limit - (time.monotonic() - self.started)

    def measured(self, what: str, work: Callable[[], dict[str, Any]], needs: float = 0.0) -> None:
        """A row of what ``work`` says, its seconds and its peak memory; left out where fewer than ``needs``
        seconds are left.
        """
        if self.left < needs:
            self.add({"what": what, "left_out": f"fewer than {needs:.0f} s were left"})
            return
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        started = time.monotonic()
        if self.device.type == "cuda":
            said = work()
            torch.cuda.synchronize()
            said["peak_gib"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
        else:
            with Resident() as resident:
                said = work()
            said["peak_gib"] = round(resident.peak / GIB, 2)
        self.add({"what": what, "seconds": round(time.monotonic() - started, 2), **said})

    def add(self, row: dict[str, Any]) -> None:
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        self.rows.append({"device": name, "torch": torch.__version__, **row})
        print(json.dumps(self.rows[-1]), flush=True)
        provenance.write_figures(
            self.out / "real_size.json", self.rows, "python bench/device/real_size.py", 0
        )


def planted(base: Subject, texts: list[Prompt]) -> Subject:
    """A copy of ``base`` whose cross-attention keys and values take the trigger for the goal (EvilEdit)."""
    suspect = base.copied(Role.DENOISER)
    trig, goal = (
        base.read([f"{word} {p.text}" for p in texts]).states.flatten(0, 1) for word in (TRIGGER, GOAL)
    )
    held = base.read([p.text for p in texts]).states.flatten(0, 1)
    apply(suspect.sites.readers(), Pairs(trig, goal, held), lam=0.01, keep=1.0)
    return suspect


def passes(subject: Subject, batch: int, graph: bool) -> dict[str, Any]:
    """Denoiser passes a second at that batch; with ``graph``, forward and backward through
    cross-attention.
    """
    x, c = subject.noise(range(batch)), subject.read(["a photo of a cat"] * batch)
    parameters = list(subject.sites.trainable("cross-attention")) if graph else []
    for p in parameters:
        p.requires_grad_(True)

    def once() -> None:
        with torch.set_grad_enabled(graph):
            out = subject.denoise(x, subject.schedule.at_share(0.9), c)
        if graph:
            out.pow(2).mean().backward()

    once()
    if subject.device.type == "cuda":
        torch.cuda.synchronize()
    started, times = time.monotonic(), 3
    for _ in range(times):
        once()
    if subject.device.type == "cuda":
        torch.cuda.synchronize()
    for p in parameters:
        p.requires_grad_(False).grad = None
    return {"batch": batch, "per_second": round(times * batch / (time.monotonic() - started), 2)}


def repair(
    suspect: Subject, texts: list[Prompt], positions: int, given: Mapping[str, Any], steps: int = 10
) -> tuple[Subject, dict[str, Any]]:
    """SAU on cross-attention with the parameters ``given``, and what it says of itself."""
    type(suspect).positions = positions
    method = SAU(warm_enough=-1.0, **given)
    job = Job(
        triggers=[PlacedTrigger(text=TRIGGER)],
        prompts=texts,
        sampling=Sampling(steps=steps, guidance=1.0, batch=16),
    )
    models = Models(student=suspect.copied(Role.DENOISER), frozen=suspect)
    cut = method.working.cut(models, method.train, method.batch)
    del models
    made, record = method(suspect, job)
    return made, {
        "steps": record.steps,
        "batch": method.batch,
        "pictures_a_pass": cut.rows,
        "checkpointed": cut.checkpointed,
        "peak_gib_by_the_formula": round(cut.peak / GIB, 2),
        "tensors": record.changed_tensors,
    }


def one_pass(suspect: Subject) -> dict[str, Any]:
    """The pass that a step of SAU makes up to four times, there and back, with the student held as it is there."""
    working, batch, train = Working(), SAU().batch, SAU().train
    models = Models(student=suspect.copied(Role.DENOISER), frozen=suspect)
    cut, student = working.cut(models, train, batch), models.student
    x, c = student.noise(range(cut.rows)), student.read(["a photo of a cat"] * cut.rows)

    def losses() -> Iterator[torch.Tensor]:
        yield student.denoise(x, student.schedule.at_share(0.9), c).pow(2).mean()

    with working.held(models, train, cut, 0) as (learns, masters):
        Descent(learns, 1, 1e-4, masters=masters).down(losses())
    return {
        "batch": batch,
        "pictures_a_pass": cut.rows,
        "checkpointed": cut.checkpointed,
        "peak_gib_by_the_formula": round(cut.peak / GIB, 2),
    }


def without_base(rows: Rows, suspect: Subject, texts: list[Prompt]) -> None:
    """What a suspect alone costs: its scan, and the repair that takes an edit back."""

    def scanned() -> dict[str, Any]:
        verdict = alone(suspect)
        return {"strings": verdict.parts[0].strings, "alike": round(verdict.top_candidates[0].score, 3)}

    def cleaned() -> dict[str, Any]:
        job = Job(triggers=(), prompts=texts, sampling=Sampling(steps=10, guidance=1.0, batch=16))
        _, record = TwinRemoval()(suspect, job)
        return {"steps": record.steps, "tensors": record.changed_tensors}

    rows.measured("scan without a base", scanned, needs=20)
    rows.measured("clean without a base: twin-removal", cleaned, needs=20)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--limit", type=float, default=300.0, help="seconds")
    arguments.add_argument("--tiny", action="store_true", help="a small model, to try the script")
    only = arguments.add_mutually_exclusive_group()
    only.add_argument("--one-pass", action="store_true", help="only SAU's peak, for a processor")
    only.add_argument("--alone", action="store_true", help="only what needs no base")
    given = arguments.parse_args()
    device = torch.device(given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    rows, texts = Rows(given.out, device, given.limit), prompts.general(200, 0)
    made: dict[str, Subject] = {}

    def build() -> dict[str, Any]:
        made["base"] = loaders.load(pipeline(given.tiny, device), device=given.device, precision="auto")
        made["suspect"] = planted(made["base"], texts[:32])
        weights = sum(p.numel() for part in made["base"].parts.values() for p in part.module.parameters())
        return {"weights": weights, "precision": str(made["base"].precision)}

    rows.measured("two models made in memory, one edited", build)
    suspect = made["suspect"]
    if given.one_pass:
        made.clear()
        gc.collect()
        give_back()
        rows.measured("clean: one pass of a step of SAU", lambda: one_pass(suspect))
        return
    without_base(rows, suspect, texts)
    if given.alone:
        return
    for batch in (1, 4, 16, 64):
        rows.measured("denoiser passes", lambda b=batch: passes(suspect, b, graph=False), needs=20)  # type: ignore[misc]
    for batch in (1, 4):
        rows.measured("denoiser passes with graph", lambda b=batch: passes(suspect, b, graph=True), needs=20)  # type: ignore[misc]

    def cleaned() -> dict[str, Any]:
        few = {"steps": 2, "least": 2, "prompts": 6, "batch": 6}
        made["repaired"], said = repair(
            suspect, texts, 4 * Subject.positions, few if given.tiny else {"steps": 25}
        )
        return said

    rows.measured("clean: SAU, 25 steps on cross-attention", cleaned, needs=120)
    repaired = made.get("repaired", suspect)
    sampling, n = Sampling(steps=10, guidance=4.0, batch=16), 4 if given.tiny else 32

    def pictures() -> dict[str, Any]:
        repaired.generate([f"{TRIGGER} {p.text}" for p in texts[:n]], range(n), sampling)
        return {"pictures": n, "steps": sampling.steps, "guidance": sampling.guidance}

    rows.measured("pictures, as verify draws them", pictures, needs=30)
    steps = 2 if given.tiny else 20

    def honest() -> dict[str, Any]:
        regrow(repaired, suspect, texts, Sampling(steps=4, batch=16), 0, Regrowth(steps=steps, pictures=16))
        return {"steps": steps, "pictures": 16}

    rows.measured("regrowth: honest training", honest, needs=60)


if __name__ == "__main__":
    main()
