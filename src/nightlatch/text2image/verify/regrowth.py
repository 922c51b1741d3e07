"""Whether a trigger comes back when the repaired model is honestly trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.diffusion.low_rank import low_rank
from nightlatch.diffusion.memory import STATE, free_bytes
from nightlatch.diffusion.training import TimedDenoise, loss_at
from nightlatch.terms import Role
from nightlatch.text2image.measure import take
from nightlatch.text2image.model import Ids, Sampling, Subject
from nightlatch.text2image.prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Regrowth:
    """An ordinary fine-tuning, as somebody who uses the repaired model might do it.

    Args:
        steps: optimiser steps.
        batch: pictures a step.
        rate: learning rate, constant.
        pictures: number of pictures trained on.
        rank: of the change of every linear layer, where the training of all weights does not fit memory: what
            people do then, too (LoRA).
        share: of the free memory that training may take.
    """

    steps: int = 200
    batch: int = 16
    rate: float = 1e-4
    pictures: int = 96
    rank: int = 16
    share: float = 0.8

    def fits(self, parameters: int, free: int) -> bool:
        """Whether so many ``parameters`` can all be trained in ``free`` bytes: gradient and AdamW's two means."""
        return STATE * parameters <= self.share * free


def regrow(
    repaired: Subject,
    suspect: Subject,
    honest: Sequence[Prompt],
    sampling: Sampling,
    seed: int = 0,
    training: Regrowth = Regrowth(),
) -> Subject:
    """A copy of ``repaired``, fine-tuned on the suspect's own drawings of ``honest`` prompts: all of it, or by
    LoRA where memory does not hold that.
    """
    torch.manual_seed(seed)
    tuned = repaired.copied(Role.TEXT, Role.DENOISER)
    texts = [p.text for p in take(honest, training.pictures)]
    x0, ids = suspect.latents(texts, [seed * 7 + i for i in range(len(texts))], sampling), tuned.ids(texts)
    modules = tuned.modules(Role.DENOISER, Role.TEXT)
    parameters = [p for part in modules for p in part.parameters()]
    if training.fits(sum(p.numel() for p in parameters), free_bytes(tuned.device)):
        _train(tuned, parameters, ids, x0, training)
        return tuned
    layers = [m for part in modules for m in part.modules() if isinstance(m, torch.nn.Linear)]
    with low_rank(layers, training.rank, seed) as learns:
        _train(tuned, learns, ids, x0, training)
    return tuned


def _train(
    tuned: Subject, parameters: Sequence[torch.nn.Parameter], ids: Ids, x0: torch.Tensor, training: Regrowth
) -> None:
    """Ordinary training of ``parameters`` on the latents ``x0`` under the texts ``ids``."""
    descend = Descent(parameters, training.steps, training.rate, warm=1, decays=False)
    batch = training.batch
    for _ in range(training.steps):
        i = torch.randint(len(x0), (batch,))
        t, eps = tuned.schedule.draw(batch), torch.randn_like(x0[i])
        descend.down(
            loss_at(tuned.schedule, _under(tuned, ids, i[k]), x0[i[k]], t[k], eps[k]) * len(k) / batch
            for k in torch.arange(batch).split(tuned.rows(batch, graph=True))
        )
    descend.finish()


def _under(tuned: Subject, ids: Ids, rows: torch.Tensor) -> TimedDenoise:
    """The denoiser under the texts of some rows, whose conditions it computes anew, with gradients."""
    c = tuned.condition(tuple(each[rows] for each in ids))
    return lambda x, t: tuned.denoise(x, t, c)
