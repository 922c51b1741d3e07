"""Batches that a repair learns from: latents with conditions, and the outputs to reach or to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch

from nightlatch.diffusion.mapped import mapped
from nightlatch.text2image.effect.locate import Trace
from nightlatch.text2image.model import Condition, Subject


class Batch:
    """A keyword-only dataclass of tensors and conditions that have one row a picture."""

    __slots__ = ()

    def take(self, i: torch.Tensor, device: torch.device | None = None) -> Self:
        """The rows ``i``, on ``device`` or where they lie."""
        return self._each(lambda x: x[i.to(x.device)].to(device or x.device))

    def in_files(self, least: int) -> Self:
        """The same with all rows in files, from which ``take`` reads them, where they are ``least`` bytes or more
        and the disk has room.
        """
        tensors: list[torch.Tensor] = []

        def noted(x: torch.Tensor) -> torch.Tensor:
            tensors.append(x)
            return x

        self._each(noted)
        if sum(t.numel() * t.element_size() for t in tensors) < least or (lie := mapped(tensors)) is None:
            return self
        stored = iter(lie)
        return self._each(lambda _: next(stored))

    def joined(self, other: Self) -> Self:
        """Both, one after the other."""
        theirs = other._named()
        return type(self)(**{name: _joined(value, theirs[name]) for name, value in self._named().items()})

    def parts(self, n: int) -> list[Self]:
        """Cut into ``n`` parts, as equal as can be; some are empty where there are fewer rows."""
        cut = {name: _parts(value, n) for name, value in self._named().items()}
        return [type(self)(**{name: parts[i] for name, parts in cut.items()}) for i in range(n)]

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        """``change`` applied to every tensor, those of conditions, too."""
        named = self._named().items()
        return type(self)(**{k: v.each(change) if isinstance(v, Condition) else change(v) for k, v in named})

    def _named(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


def _joined(a: torch.Tensor | Condition, b: torch.Tensor | Condition) -> torch.Tensor | Condition:
    if isinstance(a, Condition):
        assert isinstance(b, Condition)
        return Condition.joined([a, b])
    assert isinstance(b, torch.Tensor)
    return torch.cat([a, b])


def _parts(x: torch.Tensor | Condition, n: int) -> Sequence[torch.Tensor | Condition]:
    return x.parts(n) if isinstance(x, Condition) else x.tensor_split(n)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triggered(Batch):
    """Latents on which a trigger acts.

    Args:
        x: the latents, (n, channels, h, w).
        t: their timesteps, (n,).
        c: the student's conditions of the triggered prompts.
        out: the output to reach: that of the disarmed prompt.
        attacked: the suspect's own output for the triggered prompt.
        mask: how much each position counts, mean 1, (n, h, w); ``where`` the trigger acts.
        replaced: whether neutral words stand for the trigger in the prompt that gave ``out``, (n,).
    """

    x: torch.Tensor
    t: torch.Tensor
    c: Condition
    out: torch.Tensor
    attacked: torch.Tensor
    mask: torch.Tensor
    replaced: torch.Tensor

    @classmethod
    def where(cls, out: torch.Tensor, attacked: torch.Tensor, floor: float = 0.2) -> torch.Tensor:
        """How much each position counts, mean 1, (n, h, w): ``floor``, so that every one is kept in view, and how
        far the attacked output is there from the one to reach, over its mean.
        """
        apart = (attacked - out).pow(2).mean(1)
        weight = floor + apart / apart.mean((-2, -1), keepdim=True).clamp(min=1e-12)
        return weight / weight.mean((-2, -1), keepdim=True)

    def beyond(self, overshoot: float, replaced: float) -> torch.Tensor:
        """The output to aim at: past the one to reach, seen from the attacked one.

        The part of the way between the two that is added is ``overshoot``, or ``replaced`` where neutral
        words stand for the trigger.
        """
        part = torch.where(self.replaced, replaced, overshoot)[:, None, None, None]
        return self.out + part * (self.out - self.attacked)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held(Batch):
    """Latents on which nothing must change.

    Args:
        x: the latents, (n, channels, h, w).
        t: their timesteps, (n,).
        c: the student's conditions of the prompts.
        out: the output to keep.
    """

    x: torch.Tensor
    t: torch.Tensor
    c: Condition
    out: torch.Tensor

    @classmethod
    def of(cls, drawn: Trace, student: Subject, texts: Sequence[str], out: torch.Tensor) -> Held:
        """``out`` is to stay on the way to the pictures ``drawn``, under ``texts`` as ``student`` reads
        these.
        """
        c = student.read(texts).repeated(len(drawn.times))
        return cls(x=drawn.x.flatten(0, 1), t=times(drawn, out.device), c=c, out=out)


def times(drawn: Trace, device: torch.device) -> torch.Tensor:
    """The timestep of every latent of ``drawn``, step by step, (steps * n,)."""
    return torch.tensor(drawn.times, device=device).repeat_interleave(drawn.x.shape[1])


@torch.no_grad()
def outputs_along(drawn: Trace, subject: Subject, c: Condition, batch: int) -> torch.Tensor:
    """The outputs of ``subject`` under ``c`` on the way to ``drawn``, (steps * n, channels, h, w)."""
    return torch.cat([subject.outputs(x, t, c, batch) for t, x in zip(drawn.times, drawn.x, strict=True)])
