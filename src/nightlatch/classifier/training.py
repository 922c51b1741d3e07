"""How classifiers are trained here: SGD on batches that are drawn, augmented and preprocessed on the
device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from nightlatch.classifier import augment
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject, as_float, logits_of, predict
from nightlatch.diffusion.training import cycle
from nightlatch.records import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a classifier is trained: one cycle of the rate (Smith and Topin 2019).

    Args:
        epochs: passes over the data.
        batch: pictures a step.
        rate: peak learning rate.
        decay: weight decay.
        pad: pixels of the random shift.
        mirror: random flips; not for traffic signs.
        half: bfloat16 autocast.
        adam: AdamW in place of SGD, for transformers.
    """

    epochs: int = 20
    batch: int = 256
    rate: float = 0.2
    decay: float = 5e-4
    pad: int = 2
    mirror: bool = True
    half: bool = False
    adam: bool = False

    def steps(self, n: int) -> int:
        return max(1, -(-n // self.batch)) * self.epochs


def tuned(recipe: Recipe, module: torch.nn.Module) -> Recipe:
    """``recipe`` for a network that has learnt already: one without batch normalisation, as transformers and what is
    built like them, learns by AdamW at a hundredth of the rate, for SGD hardly moves it.
    """
    if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        return recipe
    return replace(recipe, adam=True, rate=recipe.rate / 100)


def batches(n: int, batch: int, epochs: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Row numbers, each row once an epoch in random order; torch's own generator decides."""
    for _ in range(epochs):
        yield from torch.randperm(n, device=device).split(batch)


def optimizer(subject: TorchSubject, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, on all weights."""
    parameters = [p.requires_grad_(True) for p in subject.module.parameters()]
    if recipe.adam:
        return torch.optim.AdamW(parameters, recipe.rate, weight_decay=recipe.decay)
    return torch.optim.SGD(
        parameters, recipe.rate, 0.9, weight_decay=recipe.decay, nesterov=True,
        fused=subject.device.type == "cuda",
    )  # fmt: skip


def descend(
    subject: TorchSubject,
    n: int,
    loss: Callable[[torch.Tensor], torch.Tensor],
    recipe: Recipe,
    beside: torch.optim.Optimizer | None = None,
) -> None:
    """Train ``subject`` in place down ``loss`` of row numbers out of ``n``; ``beside`` steps down the same
    loss with other weights.
    """
    both = [beside] if beside is not None else []
    module, down = subject.module, optimizer(subject, recipe)
    rate = cycle(down, recipe.steps(n), 0.25)
    module.train()
    for rows in batches(n, recipe.batch, recipe.epochs, subject.device):
        if len(rows) < 2:
            continue  # batch normalisation cannot learn from one picture
        for each in (down, *both):
            each.zero_grad(set_to_none=True)
        with torch.autocast(subject.device.type, torch.bfloat16, enabled=recipe.half):
            value = loss(rows)
        value.backward()
        for each in (down, *both):
            each.step()
        rate.step()
    module.eval()
    for p in module.parameters():
        p.requires_grad_(False)


def drawn(subject: TorchSubject, data: Labelled, rows: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The pictures of ``rows``, augmented and preprocessed."""
    x = augment.usual(as_float(data.pictures[rows]), recipe.pad, recipe.mirror)
    return subject.preprocessing(x)


def fit(subject: TorchSubject, data: Labelled, recipe: Recipe) -> TorchSubject:
    """Train ``subject`` in place on ``data`` with cross-entropy; returns it."""

    def loss(rows: torch.Tensor) -> torch.Tensor:
        logits = logits_of(subject.module(drawn(subject, data, rows, recipe)))
        return F.cross_entropy(logits.float(), data.labels[rows])

    descend(subject, len(data), loss, recipe)
    return subject


def accuracy(subject: TorchSubject, data: Labelled) -> Rate:
    """Share of ``data`` that ``subject`` names as labelled."""
    return Rate.of(int((predict(subject, data.pictures) == data.labels.to(subject.device)).sum()), len(data))
