"""Whether a scheduler's numbers describe a diffusion that begins in noise and ends in a picture; without
torch, in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from operator import mul

from nightlatch.intake.configs.fields import ConfigProblem, Fields

MAX_TRAIN_STEPS = 100_000
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
BOUNDS = ((0.0, 0.9, 1.0), (0.2, 0.3, 1.0), (0.8, 0.0, 0.2), (1.0, 0.0, 0.05))
"""(part of the way, least, most) of alphas_cumprod, the share of the picture's variance; Stable Diffusion's
are 0.999, 0.75, 0.04 and 0.005.
"""
LEAST_LAST = 1e-10
"""Of the last alphas_cumprod where noise is predicted: the prediction is divided by its root."""


def check(c: Fields) -> None:
    """Raises ConfigProblem 'config-value' unless sampling with these numbers begins in noise and ends in a
    picture.
    """
    kept = list(accumulate((1 - b for b in betas(c)), mul))
    zero = c.flag("rescale_betas_zero_snr", False)
    if c.values.get("prediction_type", "epsilon") == "epsilon" and (zero or kept[-1] < LEAST_LAST):
        raise ConfigProblem(
            "config-value",
            "Noise is predicted ('epsilon') where nothing but noise is left, which divides by zero.",
        )
    if zero:
        kept = _to_zero(kept)
    for part, low, high in BOUNDS:
        share = kept[min(len(kept) - 1, int(part * len(kept)))]
        if not low <= share <= high:
            sentence = (
                f"Its betas leave {share:.3g} of the picture after {part:.0%} of the steps, not {low:g} to "
                f"{high:g}."
            )
            raise ConfigProblem("config-value", sentence)


def betas(c: Fields) -> list[float]:
    """The variance that each training step adds, as diffusers computes it."""
    steps = c.whole("num_train_timesteps", 1000, 1, MAX_TRAIN_STEPS)
    low = c.number("beta_start", 0.0001, 1e-8, 0.999)
    high = c.number("beta_end", 0.02, 1e-8, 0.999)
    if low > high:
        raise ConfigProblem("config-value", "'beta_start' is larger than 'beta_end'.")
    c.choice("beta_schedule", BETA_SCHEDULES, "unsupported-option")
    trained = c.values.get("trained_betas")
    if trained is not None:
        if not isinstance(trained, list) or not all(type(b) in (int, float) and 0 < b < 1 for b in trained):
            raise ConfigProblem("config-value", "'trained_betas' is not a list of numbers between 0 and 1.")
        if len(trained) != steps:
            raise ConfigProblem(
                "config-value", f"'trained_betas' has {len(trained)} values for {steps} steps."
            )
        return [float(b) for b in trained]
    kind = c.values.get("beta_schedule") or "linear"
    if kind == "squaredcos_cap_v2":
        return list(_cosine(steps))
    power = 2 if kind == "scaled_linear" else 1
    first, last = low ** (1 / power), high ** (1 / power)
    return [(first + (last - first) * i / max(1, steps - 1)) ** power for i in range(steps)]


def _cosine(steps: int) -> Iterator[float]:
    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    return (min(1 - level((i + 1) / steps) / level(i / steps), 0.999) for i in range(steps))


def _to_zero(kept: list[float]) -> list[float]:
    """Rescaled so that the last is zero (Lin et al. 2024, algorithm 1)."""
    first, last = math.sqrt(kept[0]), math.sqrt(kept[-1])
    return [((math.sqrt(k) - last) * first / max(first - last, 1e-12)) ** 2 for k in kept]
