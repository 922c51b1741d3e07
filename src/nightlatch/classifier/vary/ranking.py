"""Which training pictures are poisoned? Those whose label a teacher believes on the picture and not on its
variations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject, chunks


@torch.no_grad()
def log_belief(subject: TorchSubject, pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(n,) log p(label | picture)."""
    parts = [subject.logits(p).float().log_softmax(1) for p in chunks(pictures, 1024)]
    return torch.cat(parts).gather(1, labels[:, None].to(subject.device))[:, 0]


def disagreement(teacher: TorchSubject, data: Labelled, variations: Sequence[torch.Tensor]) -> torch.Tensor:
    """(n,) how much more ``teacher``, trained on ``data``, believes a label on its picture than on the
    picture's variations; high is suspicious.

    log p(y | x) - mean over variations of log p(y | V(x)): the graded form of "it says y of x and something
    else of V(x)".
    """
    varied = torch.stack([log_belief(teacher, v, data.labels) for v in variations]).mean(0)
    return log_belief(teacher, data.pictures, data.labels) - varied
