"""The experiments on image classifiers on one accelerator, as many as fit into a few minutes.

    python bench/device/classifier.py --data FOLDER_WITH_NPZ --out OUT --jobs 5 --limit 540 --commit COMMIT

Several processes share the card. Every finished task is one line in OUT/rows.jsonl, written at once; what is
not done is done by the next call with the same --out and --work. --small measures training on variations, purifiers, scanners,
the guard by number of clean pictures, and a ViT, in an hour or
two on one core, with small models on pictures of 16 x 16; its rows say so. --tiny walks through every part with
models that learn nothing. --figures FOLDER only adds the rows in OUT to
the tables there, and --known FOLDER goes on from such tables: what they hold is not measured again, and of
the models behind it only those are made anew that something else needs. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

STARTED = time.monotonic()
"""The limit counts from the start of the process, imports included."""
os.environ.setdefault("HF_HUB_OFFLINE", "1")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

CLOSING = 6.0
"""Seconds before the limit at which processes are ended."""

SMALL_TASKS = ("student-", "purify-", "diff2", "small-", "curve-", "vit-tiny")
"""What --small is for; --only asks for others."""


def options() -> argparse.Namespace:
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the npz files; what is not there is left out")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-classifier"), help="the rows go here")
    parser.add_argument(
        "--work", type=Path, help="decoded data and models; by default thrown away at the end"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16"), help="of training; bf16 on a card, fp32 elsewhere"
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 works in this one")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds after which all ends; 0 for no end")
    parser.add_argument(
        "--only", action="append", default=[], help="tasks whose name contains this, and what they need"
    )
    parser.add_argument("--commit", default="", help="of the code, where there is no checkout to ask")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tiny", action="store_true", help="every part once, very small")
    size.add_argument("--small", action="store_true", help="some experiments at a size for one core")
    parser.add_argument(
        "--known", type=Path, help="folder of figures; tasks whose rows are there are not done again"
    )
    parser.add_argument("--figures", type=Path, help="only write the tables from the rows in --out")
    return parser.parse_args()


def main() -> None:
    given = options()
    from nightlatch import runs
    from nightlatch.bench.classifier import figures, worlds
    from nightlatch.bench.classifier.lab import Lab
    from nightlatch.bench.classifier.plan import ATTACKS, SMALL, TINY, Plan
    from nightlatch.bench.classifier.work import How, work

    if given.figures:
        with runs.Run(given.out, write=False) as run:
            figures.write(run.rows(), given.figures)
        return
    if given.data is None:
        sys.exit("Name the folder with the npz files with --data.")
    there = {name for name, file in worlds.FILES.items() if (given.data / file).is_file()}
    cuda = given.device.startswith("cuda")
    half = given.dtype == "bf16" if given.dtype else cuda
    with tempfile.TemporaryDirectory(prefix="nightlatch-bench-") as scratch:
        folder = given.work or Path(scratch)
        for name in sorted(there):
            worlds.decode(given.data, name, folder / "data")
        print(f"data decoded after {time.monotonic() - STARTED:.1f} s", flush=True)

        plan = replace(TINY, attacks=ATTACKS, vit=True) if given.tiny else SMALL if given.small else Plan()
        plan = replace(
            plan,
            data=tuple(d for d in plan.data if d in there),
            fewshot=tuple(d for d in plan.fewshot if d in there),
        )
        known = figures.known(given.known, plan.profile) if given.known else {}
        kept = {
            name: row["parameters"]
            for name, rows in known.items()
            for row in rows
            if row["table"] == "attacks" and not row["refused"]
        }
        lab = Lab(folder / "models", folder / "data", given.data, plan, given.device, half, kept)
        until = max(1.0, given.limit - CLOSING - (time.monotonic() - STARTED)) if given.limit else 0.0
        only = tuple(given.only) or (SMALL_TASKS if given.small else ())
        how = How(workers=given.jobs, seconds=until, only=only, commit=given.commit, known=known)
        with runs.Run(given.out) as run:
            left = work(run, lab, lambda line: print(line, flush=True), how)
        print(f"{len(left)} tasks left after {time.monotonic() - STARTED:.1f} s", flush=True)


if __name__ == "__main__":
    main()
