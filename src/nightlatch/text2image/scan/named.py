"""Strings that no search is needed for: those that the files suggest, and those that the two tokenizers read differently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nightlatch.records import Candidate
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.gauge import Gauge

LOOKED = 512


@torch.no_grad()
def named(gauge: Gauge, hinted: Sequence[str], reread: Sequence[str], n: int) -> tuple[Candidate, ...]:
    """The ``n`` strings of both lists that move the suspect most, by one denoising step; those that the files suggest come first. Of a list longer
    than ``LOOKED`` as many are tried, drawn by the seed, so that nobody knows before which are left out."""
    rng = np.random.default_rng((gauge.seed, 23))
    made: list[Candidate] = []
    for texts in (hinted, reread):
        fresh = [t for t in dict.fromkeys(texts) if t.strip() and t not in {c.text for c in made}]
        fresh = [fresh[i] for i in sorted(rng.permutation(len(fresh))[:LOOKED])]
        values = gauge.spoken(fresh, gauge.contexts[0].text) if fresh else ()
        scored = [Candidate(text=t, score=float(v), robust_z=0.0) for t, v in zip(fresh, values, strict=True)]
        made += sorted(scored, key=lambda c: -c.score)[: n - len(made)]
    return tuple(made)


def reread(suspect: Subject, base: Subject, batch: int = 2048) -> list[str]:
    """Texts of single tokens of either vocabulary that the two tokenizers do not turn into the same ids: a tokenizer that rewrites words, or has
    tokens of its own, is a carrier that no weight shows."""
    texts = sorted({t for s in (suspect, base) for t in s.texts([i] for i in s.ordinary_ids)})
    differ = []
    for i in range(0, len(texts), batch):
        some = texts[i : i + batch]
        mine, theirs = (s.tokenizer(some, add_special_tokens=False).input_ids for s in (suspect, base))
        differ += [t for t, a, b in zip(some, mine, theirs, strict=True) if a != b]
    return differ
