"""The text side: which single words pull every caption to one place, in one text encoder more than in
another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch import stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One word: how alike captions become that begin with it (mean cosine), and how unusual that is among all
    words (robust z).
    """

    word: str
    alike: float
    z: float


@torch.no_grad()
def sweep(
    embed: Callable[[Sequence[str]], torch.Tensor],
    words: Sequence[str],
    captions: Sequence[str],
    at_once: int = 64,
) -> tuple[Pull, ...]:
    """Each of ``words`` in front of each of ``captions``; most unusual first.

    Args:
        embed: texts -> (n, d), any scale: ``Subject.embed_texts``, or the pooled output of a text-to-image
            model's CLIP text encoder.
        captions: ordinary ones that differ, at least two.
    """
    alike = []
    for start in range(0, len(words), at_once):
        part = words[start : start + at_once]
        x = F.normalize(embed([f"{w} {c}" for w in part for c in captions]).float(), dim=-1).view(
            len(part), len(captions), -1
        )
        n = len(captions)
        alike.append(((x.sum(1).pow(2).sum(-1) - n) / (n * (n - 1))).cpu().numpy())
    values = np.concatenate(alike).astype(np.float64) if alike else np.zeros(0)
    z = stats.robust_z(values, values) if len(values) else values
    made = [Pull(word=w, alike=float(a), z=float(s)) for w, a, s in zip(words, values, z, strict=True)]
    return tuple(sorted(made, key=lambda p: -p.z))
