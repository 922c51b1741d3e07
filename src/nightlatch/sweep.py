"""Which single words pull captions together in a text encoder: the search of every family that reads text.

A trigger of an encoder drowns what stands behind it: captions that differ read alike once it stands in front
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nightlatch import stats

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One word: how alike captions become that begin with it (mean cosine), and how unusual that is among all
    words (robust z).
    """

    word: str
    alike: float
    z: float


def alike(states: npt.NDArray[np.floating]) -> Floats:
    """How alike an encoder reads several captions behind each word: the mean cosine of two of them, (words,).

    Args:
        states: (words, captions, d), any scale; at least two captions.
    """
    x = states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
    n = x.shape[1]
    made: Floats = ((x.sum(1).astype(np.float64) ** 2).sum(-1) - n) / (n * (n - 1))
    return made


def pulls(words: Sequence[str], values: Floats) -> tuple[Pull, ...]:
    """``words`` by ``values``, what ``alike`` gives for each (less what it gives for a trusted encoder, where
    there is one), (words,); most unusual first.
    """
    z = stats.robust_z(values, values) if len(values) else values
    made = [Pull(word=w, alike=float(a), z=float(s)) for w, a, s in zip(words, values, z, strict=True)]
    return tuple(sorted(made, key=lambda p: -p.z))
