"""Scan without a base, on closed-form edits with seeds of their own and on honest models.

    PYTHONPATH=src python bench/device/scan_alone.py --figures docs/figures [--device cpu] [--limit 600]

One row a model is appended to scan_alone.json as soon as it is done; what is there is not made again. Beside the cosine of
twins stands a simpler measure of the same weights: the largest gain of a token over its neighbours, over the median one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nightlatch import provenance, testbed
from nightlatch.bench.cases import Case, draw
from nightlatch.bench.setup import rare_words
from nightlatch.testbed import honest, implant
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.effect.gain import Gains
from nightlatch.text2image.model import Subject, loaders
from nightlatch.text2image.scan import alone

COMMAND = "python bench/device/scan_alone.py --figures docs/figures"
EDITS = range(50, 58)
"""Seeds of each kind of edit: with the templates that the attack has, with two, with eight, with forty."""
TEMPLATES = (None, 2, 8, 40)
HONEST = (50, 51)
"""Seeds of each kind of honest fine-tune."""
PICTURES = 100


@dataclass(frozen=True)
class Made:
    """A model, and what its row says of how it was made."""

    model: Subject
    about: dict[str, Any]


def edited(base: Subject, templates: int | None, seed: int) -> Made:
    """The trigger and target that the seed draws, edited in, however well that works."""
    name = "eviledit" if templates is None else "eviledit-templates"
    more = {} if templates is None else {"templates": templates}
    case: Case = draw(name, seed, rare_words())
    attack = ATTACKS.create(name, trigger=case.trigger, target=case.target, **more)
    own = implant.setting(base, seed).but(case.trigger)
    made = attack.run(base, own)
    success = attack.success(made, own, attack.telling(base, own, PICTURES))
    about = {"trigger": case.trigger, "kind_of_trigger": case.kind, "target": case.target, "success": success}
    return Made(made, {"attack": name, "templates": templates, **about})


def models(base: Subject) -> Iterator[tuple[str, int, Callable[[], Made]]]:
    """(name, seed, how it is made), a few of each kind first."""
    yield "base", 0, lambda: Made(base, {})
    for i, seed in enumerate(EDITS):
        for templates in TEMPLATES:
            yield f"edit-{templates or 'all'}-{seed}", seed, partial(edited, base, templates, seed)
        if i < len(HONEST):
            for kind in honest.KINDS:
                yield f"honest-{kind}-{HONEST[i]}", HONEST[i], partial(tuned, base, kind, HONEST[i])


def tuned(base: Subject, kind: str, seed: int) -> Made:
    return Made(honest.fine_tune(base, kind, seed), {})


def looked(made: Made) -> dict[str, Any]:
    """What a scan without a base says of it."""
    verdict = alone(made.model, say=lambda _: None)
    tokens = [(i,) for i in made.model.vocabulary.known]
    gains, _ = Gains(made.model, "").of(tokens)
    named = [t.text for t in verdict.triggers]
    words = str(made.about.get("trigger", "")).split()
    return {
        "kind": "backdoored" if made.about else "honest", **made.about, "verdict": verdict.word, "named": named,
        "exact": any(n in words for n in named), "alike": verdict.top_candidates[0].score,
        "gain": float(gains.max() / gains.median()), "seconds": round(verdict.seconds, 1),
    }  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--figures", type=Path, required=True, help="folder for scan_alone.json")
    parser.add_argument("--device", default="cpu", help="where everything is computed")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds")
    wanted, started = parser.parse_args(given), time.monotonic()
    torch.set_num_threads(wanted.threads)
    base, path = loaders.load(testbed.PIPELINE, device=wanted.device), wanted.figures / "scan_alone.json"
    done = {row["model"] for row in json.loads(path.read_text("utf-8"))} if path.is_file() else set()
    for name, seed, make in models(base):
        if name in done or time.monotonic() - started > wanted.limit:
            continue
        row = {"model": name, **looked(make()), "device": wanted.device, "threads": wanted.threads}
        provenance.add_figure(path, row, COMMAND, seed)
        print(
            name,
            row["verdict"],
            row["named"],
            row.get("trigger"),
            round(row["alike"], 3),
            row["seconds"],
            flush=True,
        )


if __name__ == "__main__":
    main()
