"""A student that learns from variations, with a teacher that was trained on the poisoned set itself (Struppek
et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject, logits_of
from nightlatch.classifier.training import Recipe, descend, drawn


def distillation(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, alpha: float, temperature: float
) -> torch.Tensor:
    """alpha T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) CE(student, labels), the mean
    over the batch.

    Struppek et al. 2023, section 3; Hinton et al. 2015. Logits are (n, classes).
    """
    soft = F.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        log_target=True,
        reduction="batchmean",
    )
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distil:
    """How a student is trained.

    Args:
        alpha: weight of the teacher's word against the labels'; 0 is cross-entropy on the labels alone (0.5
            in the paper's release).
        temperature: of both softmaxes (10 in the paper's release).
    """

    alpha: float = 0.5
    temperature: float = 10.0

    def __call__(
        self,
        student: TorchSubject,
        teacher: TorchSubject,
        data: Labelled,
        recipe: Recipe,
        again: Sequence[torch.Tensor] = (),
    ) -> TorchSubject:
        """Train ``student`` in place on ``data``, the variations with the labels of their originals; returns
        it.

        Args:
            again: other variations of the same pictures, in the same order and form. Each time a picture comes,
                one of its variations is drawn, so that several cost no more steps than one.
        """
        n = len(data)
        every = replace(data, pictures=torch.cat([data.pictures, *again])) if again else data

        def loss(rows: torch.Tensor) -> torch.Tensor:
            which = torch.randint(len(again) + 1, rows.shape, device=rows.device) if again else 0
            x = drawn(student, every, rows + n * which, recipe)
            with torch.no_grad():
                told = (
                    logits_of(teacher.module(x)).float()
                    if self.alpha
                    else torch.zeros(len(rows), len(data.classes), device=x.device)
                )
            return distillation(
                logits_of(student.module(x)).float(), told, data.labels[rows], self.alpha, self.temperature
            )

        descend(student, n, loss, recipe)
        return student
