"""SAU for a text-encoder carrier: the same idea on token states, where a trigger acts by position instead of by pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.bank import Texts
from nightlatch.text2image.repair.base import Job

MOST, TAIL = 0.06, 0.95
"""Part of the way from the disarmed to the attacked states that may be left at this quantile."""


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
    overshoot: float = 0.2,
) -> Iterator[tuple[int, dict[str, float]]]:
    """States of the triggered prompt follow the frozen encoder's of the filled prompt (or a trusted ``teacher``'s of the triggered one), weighted by
    how far the trigger displaces each position; clean, near-trigger and unrelated prompts are held. Aims past them by the part ``overshoot`` of the
    way back from the triggered states. Stops when at most the part ``MOST`` of that way is left."""
    texts = Texts.of(frozen, job, n, np.random.default_rng((job.seed, 6)))
    ids_t, ids_h = frozen.ids(texts.triggered), frozen.ids([*texts.held, *texts.dropped, *texts.plain])
    states_t, filled = frozen.encode(texts.triggered), frozen.encode(texts.filled)
    goal = teacher.encode(texts.triggered) if teacher else filled
    held = frozen.encode([*texts.held, *texts.dropped, *texts.plain])
    acts = (states_t - filled).pow(2).mean(-1)
    weight = 0.2 + acts / acts.mean(1, keepdim=True).clamp(min=1e-12)
    weight = weight / weight.mean(1, keepdim=True)
    whole = states_t - goal
    size = whole.pow(2).sum((1, 2)).clamp(min=1e-12)
    descend = Descent(student.text_encoder.parameters(), steps, rate)
    generator = torch.Generator().manual_seed(job.seed)
    residue = math.inf
    for step in range(steps):
        i = torch.randint(len(ids_t), (batch,), generator=generator)
        k = torch.randint(len(ids_h), (2 * batch,), generator=generator)
        out = student.encode_ids(torch.cat([ids_t[i], ids_h[k]]))
        moved = out[:batch] - goal[i]
        apart = (moved + overshoot * whole[i]).pow(2).mean(-1)
        prediction = (apart * weight[i]).mean()
        hold = (out[batch:] - held[k]).pow(2).mean()
        descend(prediction + 2 * hold)
        now = float(((moved.detach() * whole[i]).sum((1, 2)) / size[i]).quantile(TAIL)) / MOST
        residue = now if math.isinf(residue) else 0.8 * residue + 0.2 * now
        yield step, {"prediction": float(prediction.detach()), "hold": float(hold.detach()), "residue": residue}
        if step + 1 >= least and residue <= 1.0:
            break
