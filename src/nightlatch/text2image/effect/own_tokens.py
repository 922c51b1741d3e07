"""Where in texts the tokens of a phrase stand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nightlatch.text2image.model import Subject


def own_tokens(subject: Subject, texts: Sequence[str], phrase: str) -> torch.Tensor:
    """Which positions hold the tokens of ``phrase`` (its first place) in each text, (n, tokens) bool."""
    own = torch.tensor(subject.vocabulary.typed([phrase])[0], device=subject.device)
    ids = subject.ids(texts)[0]
    start = (ids.unfold(1, len(own), 1) == own).all(-1).int().argmax(1)
    at = torch.arange(ids.shape[1], device=subject.device)
    return (at >= start[:, None]) & (at < start[:, None] + len(own))
