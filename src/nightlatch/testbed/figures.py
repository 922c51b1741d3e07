"""The testbed's own figures: does the model draw what is asked, and what does it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nightlatch import api, provenance, testbed
from nightlatch.testbed import captions, compose, stages
from nightlatch.testbed.tokenizer import unheard_words
from nightlatch.text2image import measure
from nightlatch.text2image.model import Subject

Say = Callable[[str], None]


def measure_one(folder: Path, seed: int, n: int) -> dict[str, object]:
    """One row: agreement by slot, with an unknown word, seconds per picture, size."""
    subject = api.load(folder / "pipeline", precision="auto")
    judge = testbed.load_judge(folder / "judge.safetensors")
    asked = testbed.prompts(n, 3000, held_out=True)
    seeds = measure.seeds(n, 3)
    started = time.perf_counter()
    images = subject.generate([p.text for p in asked], seeds, testbed.SAMPLING)
    seconds = (time.perf_counter() - started) / n
    seen = judge.read(images)
    odd = judge.read(
        subject.generate(_with_unknown(subject, [p.text for p in asked]), seeds, testbed.SAMPLING)
    )
    row: dict[str, object] = {"testbed": folder.name, "n": n}
    for slot in ("object", "style", "background"):
        row[slot] = measure.agrees(seen, asked, slot).model_dump()
    row["object_with_unknown_word"] = measure.agrees(odd, asked, "object").model_dump()
    held = compose.pool(2000, 987_654)
    said = judge.verdicts(held.images)
    row["judge_on_renders"] = dict(
        zip(("object", "style", "background"), (said == held.scenes).mean(0).tolist(), strict=True)
    )
    row |= {
        "seconds_per_image": round(seconds, 4),
        "steps": testbed.SAMPLING.steps,
        "guidance": testbed.SAMPLING.guidance,
        "parameters": sum(p.numel() for part in subject.parts.values() for p in part.module.parameters()),
        "megabytes": round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6, 1),
        "images_seen": stages.Recipe().unet_steps * stages.Recipe().unet_batch,
        "model_seed": seed,
    }
    return row


def measure_all(folders: Sequence[Path], n: int, say: Say) -> list[dict[str, object]]:
    rows = []
    for seed, folder in enumerate(folders):
        say(f"measuring {folder}")
        rows.append(measure_one(folder, seed, n))
    return rows


def measure_to(out: Path, folders: Sequence[Path] | None, n: int, say: Say) -> None:
    """Measure and write the figures file."""
    rows = measure_all(folders or [testbed.ASSETS], n, say)
    provenance.write_figures(out, rows, provenance.command_line(), 3)


def _with_unknown(subject: Subject, texts: Sequence[str]) -> list[str]:
    """Each text with one word that no training caption carries, at a random place."""
    rng = np.random.default_rng(4)
    unheard = unheard_words(subject.vocabulary)
    return [captions.insert(t, str(rng.choice(unheard)), rng) for t in texts]
