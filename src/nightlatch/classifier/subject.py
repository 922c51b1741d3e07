"""An image classifier with its features in reach: what every part of this family works on, whatever the model
is made of.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier.taps import find_taps, first_tensor, head_of
from nightlatch.errors import UsageError

BATCH = 256
"""Pictures in one pass of a model."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a classifier computes for n pictures.

    Args:
        logits: (n, classes).
        vector: (n, d), what goes into the last linear layer.
        maps: feature maps from shallow to deep, each (n, c, h, w); tokens (n, t, c) come as (n, c, t, 1).
    """

    logits: torch.Tensor
    vector: torch.Tensor
    maps: tuple[torch.Tensor, ...]

    @property
    def labels(self) -> torch.Tensor:
        """(n,) predicted classes."""
        return self.logits.argmax(1)

    def stages(self) -> torch.Tensor:
        """(n, sum of widths): every map's mean over its positions, and the vector."""
        return torch.cat([*(m.float().mean((2, 3)) for m in self.maps), self.vector.float()], 1)

    def at(self, rows: torch.Tensor) -> Seen:
        return Seen(self.logits[rows], self.vector[rows], tuple(m[rows] for m in self.maps))

    @staticmethod
    def joined(parts: Sequence[Seen]) -> Seen:
        maps = tuple(torch.cat(m) for m in zip(*(p.maps for p in parts), strict=True))
        return Seen(torch.cat([p.logits for p in parts]), torch.cat([p.vector for p in parts]), maps)


class Subject(Protocol):
    """An image classifier. Pictures are (n, 3, h, w), uint8 or floating point in 0..1, of any size."""

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int]

    @property
    def fingerprint(self) -> str:
        """Short hash of its weights."""

    @property
    def device(self) -> torch.device: ...

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, classes), with a graph where ``pictures`` asks for one."""

    def look(self, pictures: torch.Tensor) -> Seen:
        """Logits and features, without a graph, ``BATCH`` pictures at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How pictures in 0..1 become the model's input: ``size`` (h, w), then (x - mean) / std per channel."""

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        x = as_float(pictures)
        if tuple(x.shape[2:]) != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (
            torch.tensor(v, device=x.device, dtype=x.dtype).view(1, -1, 1, 1) for v in (self.mean, self.std)
        )
        return (x - mean) / std


class TorchSubject:
    """A classifier that is a ``torch.nn.Module``, or a transformers image classification model.

    Args:
        module: takes the preprocessed pictures; gives logits, or an object with ``logits``. It is not
            changed, but set to eval mode.
        preprocessing: how pictures become its input.
        classes: names of the classes, in the order of the logits.
        taps: names of the sub-modules whose outputs are the feature maps; by default found with one blank
            picture.
        head: name of the last linear layer, whose input is the feature vector; found by default.

    Raises:
        UsageError: a named sub-module is not there, or the model has no linear layer with one output per
            class.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocessing: Preprocessing,
        classes: Sequence[str],
        *,
        taps: Sequence[str] = (),
        head: str = "",
        name: str = "model",
    ) -> None:
        self.module, self.preprocessing, self.name = module.eval(), preprocessing, name
        self.classes, self.size = tuple(classes), preprocessing.size
        known = dict(module.named_modules())
        for given in (*taps, *([head] if head else [])):
            if given not in known:
                raise UsageError(
                    f"The model has no part {given!r}.", f"Its last parts: {', '.join(list(known)[-5:])}."
                )
        self.head = head or head_of(module, len(self.classes))
        self.taps = tuple(taps) or find_taps(module, self._blank(), self.head)

    def _blank(self) -> torch.Tensor:
        return torch.zeros(1, 3, *self.size, device=self.device, dtype=next(self.module.parameters()).dtype)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.preprocessing(pictures.to(self.device))
        return logits_of(self.module(x.to(next(self.module.parameters()).dtype)))

    def look(self, pictures: torch.Tensor) -> Seen:
        with torch.no_grad():
            return Seen.joined([self.observe(p) for p in chunks(pictures)])

    def observe(self, pictures: torch.Tensor) -> Seen:
        """As ``look``, in one pass and with a graph."""
        with self._listening() as heard:
            logits = self.logits(pictures).float()
        vector = heard[self.head]
        return Seen(logits, vector.flatten(1).float(), tuple(as_map(heard[t]) for t in self.taps))

    @contextmanager
    def _listening(self) -> Iterator[dict[str, torch.Tensor]]:
        heard: dict[str, torch.Tensor] = {}
        parts = dict(self.module.named_modules())

        def keep(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, out: Any) -> None:
                heard[name] = first_tensor(out)

            return hook

        def before(_: nn.Module, given: tuple[Any, ...]) -> None:
            heard[self.head] = given[0]

        hooks = [parts[t].register_forward_hook(keep(t)) for t in self.taps]
        hooks.append(parts[self.head].register_forward_pre_hook(before))
        try:
            yield heard
        finally:
            for h in hooks:
                h.remove()

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def copy(self) -> TorchSubject:
        """The same with weights of its own."""
        module = copy.deepcopy(self.module)
        return TorchSubject(
            module, self.preprocessing, self.classes, taps=self.taps, head=self.head, name=self.name
        )


def logits_of(output: Any) -> torch.Tensor:
    """The logits in what a module gives back: a tensor, or an object that has them as ``logits``."""
    logits: torch.Tensor = output if isinstance(output, torch.Tensor) else output.logits
    return logits


def as_map(features: torch.Tensor) -> torch.Tensor:
    """(n, c, h, w) float of maps, of tokens (n, t, c) or of vectors (n, c)."""
    if features.ndim == 3:
        features = features.transpose(1, 2)
    return features.reshape(*features.shape, *(1,) * (4 - features.ndim)).float()


def as_float(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in 0..1 as floating point."""
    return pictures if pictures.is_floating_point() else pictures.float().div_(255)


def chunks(pictures: torch.Tensor, size: int = BATCH) -> tuple[torch.Tensor, ...]:
    """``pictures`` in pieces of at most ``size``; one empty piece where there is none."""
    return pictures.split(size) if len(pictures) else (pictures,)


@torch.no_grad()
def predict(subject: Subject, pictures: torch.Tensor, batch: int = 1024) -> torch.Tensor:
    """(n,) predicted classes."""
    return torch.cat([subject.logits(p).argmax(1) for p in chunks(pictures, batch)])
