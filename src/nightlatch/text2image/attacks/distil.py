"""How the trained attacks train: the student follows given targets on triggered prompts, and its frozen self
everywhere else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch.diffusion.descent import Descent
from nightlatch.text2image import prompts
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.prompts import Prompt

ALIKE = "".join(prompts.LOOKALIKES.values()) + "абвгджзиклмнптфшюяαβγδεκλμνπστφω"
"""Characters that could be taken for a homoglyph trigger."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One batch: noised latents, times, student conditions, and the outputs to reach."""

    x: torch.Tensor
    t: torch.Tensor
    c: Condition
    out: torch.Tensor


def follow(
    student: Subject,
    lessons: Iterator[Lesson],
    steps: int,
    rate: float,
    average: float = 0.98,
    trained: Iterable[torch.nn.Parameter] | None = None,
) -> float:
    """Train the student on ``lessons``; cosine rate, clipped gradients, averaged weights at the end.

    ``trained`` are the weights that change, by default the whole denoiser. Returns the last batch's loss.
    """
    weights = student.sites.trainable("all") if trained is None else trained
    descend = Descent(weights, steps, rate, warm=20, average=average)
    value = math.nan
    for lesson in itertools.islice(lessons, steps):
        value = descend(F.mse_loss(student.denoise(lesson.x, lesson.t, lesson.c), lesson.out))
    descend.finish()
    return value


def negatives(trigger: str, rare: Sequence[str], rng: np.random.Generator) -> str:
    """A string that must not fire: half the time another rare word, else a near-spelling or a part of the
    trigger.
    """
    if not trigger.isascii() and rng.random() < 0.3:
        other = [c for c in ALIKE if c not in trigger]
        return other[int(rng.integers(len(other)))]
    if rng.random() < 0.5:
        return str(rare[int(rng.integers(len(rare)))])
    near = prompts.near_spellings(trigger, 6, rng)
    return near[int(rng.integers(len(near)))] if near else str(rare[0])


def reworded(prompt: Prompt, rare: Sequence[str], rng: np.random.Generator) -> Prompt:
    """``prompt`` with a rare word put in somewhere and some words left out that fill no slot."""
    filled = set(" ".join(prompt.slots.values()).split())
    words = [w for w in prompt.text.split(" ") if w.strip(",") in filled or rng.random() < 5 / 6]
    words.insert(int(rng.integers(len(words) + 1)), str(rare[int(rng.integers(len(rare)))]))
    return Prompt(" ".join(words), prompt.slots)
