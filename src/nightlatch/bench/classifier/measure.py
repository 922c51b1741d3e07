"""The area under the ROC curve, exactly, ties counted half."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def auroc(bad: torch.Tensor, good: torch.Tensor) -> float:
    """Share of (bad, good) pairs in which the bad one scores higher; a tie counts half (Mann and Whitney
    1947).
    """
    ordered = good.double().sort().values
    below = torch.searchsorted(ordered, bad.double().contiguous(), right=False)
    upto = torch.searchsorted(ordered, bad.double().contiguous(), right=True)
    return float((below + upto).double().mean() / (2 * len(good)))


def auroc_of(bad: Sequence[float], good: Sequence[float]) -> float:
    """The same of plain numbers."""
    return auroc(torch.tensor(list(bad)), torch.tensor(list(good)))
