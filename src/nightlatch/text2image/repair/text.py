"""SAU for a text-encoder carrier: the same idea on token states, where a trigger acts by position instead of by pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from nightlatch.text2image.descent import Descent
from nightlatch.text2image.repair.bank import Texts
from nightlatch.text2image.repair.base import Job
from nightlatch.text2image.subject import Subject


def unlearn_text(
    student: Subject,
    frozen: Subject,
    job: Job,
    steps: int,
    least: int,
    rate: float = 3e-4,
    batch: int = 24,
    n: int = 192,
    teacher: Subject | None = None,
) -> Iterator[tuple[int, dict[str, float]]]:
    """States of the triggered prompt follow the frozen encoder's of the filled prompt (or a trusted ``teacher``'s of the triggered one), weighted by
    how far the trigger displaces each position; clean, near-trigger and unrelated prompts are held. Stops when the trigger displaces no more than
    one neutral word against another."""
    texts = Texts.of(frozen, job, n, np.random.default_rng((job.seed, 6)))
    ids_t, ids_h = frozen.ids(texts.triggered), frozen.ids([*texts.held, *texts.dropped])
    states_t, filled = frozen.encode(texts.triggered), frozen.encode(texts.filled)
    goal = teacher.encode(texts.triggered) if teacher else filled
    held = frozen.encode([*texts.held, *texts.dropped])
    moved = (states_t - filled).pow(2).mean(-1)
    weight = 0.2 + moved / moved.mean(1, keepdim=True).clamp(min=1e-12)
    weight = weight / weight.mean(1, keepdim=True)
    usual = float((frozen.encode(texts.refilled) - filled).pow(2).mean())
    descend = Descent(student.text_encoder.parameters(), steps, rate)
    generator = torch.Generator().manual_seed(job.seed)
    residue = math.inf
    for step in range(steps):
        i = torch.randint(len(ids_t), (batch,), generator=generator)
        k = torch.randint(len(ids_h), (2 * batch,), generator=generator)
        out = student.encode_ids(torch.cat([ids_t[i], ids_h[k]]))
        apart = (out[:batch] - goal[i]).pow(2).mean(-1)
        prediction = (apart * weight[i]).mean()
        hold = (out[batch:] - held[k]).pow(2).mean()
        descend(prediction + 2 * hold)
        now = float(apart.detach().mean()) / usual
        residue = now if math.isinf(residue) else 0.8 * residue + 0.2 * now
        yield step, {"prediction": float(prediction.detach()), "hold": float(hold.detach()), "residue": residue}
        if step + 1 >= least and residue <= 0.1:
            break
