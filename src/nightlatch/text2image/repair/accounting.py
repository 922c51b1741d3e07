"""What a repair did: how much of the model changed, and whether clean prompts are drawn as before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nightlatch.text2image.effect.neutral import EARLY
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt


def clean_change(
    student: Subject, frozen: Subject, prompts: Sequence[Prompt], seed: int, n: int = 32
) -> float:
    """How differently ``student`` draws clean ``prompts``, relative to how they differ from each other, >= 0.

    The first ``n`` are looked at.

    The squared change of the output (as v, which counts all timesteps alike) at two early timesteps, over
    the variance of the frozen output from prompt to prompt (of which there must be two). All start from one
    noise, so that this variance is what their words make of it.
    """
    texts = [p.text for p in prompts[:n]]
    change, spread = 0.0, 0.0
    for share in EARLY:
        step = OneStep.at_share(frozen, seed, share)
        mine, theirs = (s.at(step.t).as_v(step.outputs(s, s.read(texts), n)) for s in (student, frozen))
        change += float((mine - theirs).pow(2).mean())
        spread += float(theirs.var(0).mean())
    return change / max(spread, 1e-12)


def difference(a: Subject, b: Subject) -> tuple[int, float]:
    """(number of tensors that differ, share of all weights of ``a`` that differ).

    Tensors of another shape differ as a whole.
    """
    tensors, weights, total = 0, 0, 0
    for name, part in a.parts.items():
        theirs = b.parts[name].module.state_dict()
        for key, value in part.module.state_dict().items():
            other = theirs.get(key)
            same_shape = other is not None and other.shape == value.shape
            differs = int((value != other).sum()) if same_shape else value.numel()
            tensors, weights, total = tensors + (differs > 0), weights + differs, total + value.numel()
    return tensors, weights / max(total, 1)


def evenly_spaced(history: list[dict[str, float]], most: int = 100) -> list[dict[str, float]]:
    """At most ``most`` rows of ``history``, evenly spaced, the last one kept."""
    if len(history) <= most:
        return history
    keep = np.unique(np.linspace(0, len(history) - 1, most).round().astype(int))
    return [history[int(i)] for i in keep]
