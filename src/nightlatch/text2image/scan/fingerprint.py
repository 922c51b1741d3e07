"""Which weights differ from the trusted base, where, by how much and with what rank; no forward pass."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.records import ComponentChange
from nightlatch.terms import ChangePattern, Role
from nightlatch.text2image.model import Part, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Compares the weights of two models, component by component.

    Args:
        listed: most changed tensors that a row names.
        largest: most columns or rows of a change whose singular values are computed; larger ones would take
            minutes.
        whole: part of a component's tensors above which a change counts as training of all layers.
    """

    name: ClassVar[str] = "fingerprint"
    listed: int = 8
    largest: int = 4096
    whole: float = 0.8

    def __call__(self, suspect: Subject, base: Subject) -> tuple[ComponentChange, ...]:
        """One row per component; tensors that do not match in name or shape count as changed whole."""
        return tuple(self._component(name, suspect, base) for name in suspect.parts)

    def _component(self, component: str, suspect: Subject, base: Subject) -> ComponentChange:
        """The change of one component: ||dW|| / ||W|| and the median rank over its changed tensors."""
        part, other = suspect.parts[component], base.parts.get(component)
        theirs = other.module.state_dict() if other else {}
        mine = {k: v for k, v in part.module.state_dict().items() if v.is_floating_point()}
        sizes, ranks, squares = dict[str, float](), list[float](), [0.0, 0.0]
        for name, w in mine.items():
            w0 = theirs.get(name)
            if w0 is None or w0.shape != w.shape:
                sizes[name] = 1.0
                continue
            if rounded(w, w0):
                continue
            d, scale = (w - w0).float(), float(w0.float().norm()) or 1.0
            sizes[name] = float(d.norm()) / scale
            squares[0] += float(d.pow(2).sum())
            squares[1] += scale**2
            if d.ndim == 2 and min(d.shape) > 1 and max(d.shape) <= self.largest:
                ranks.append(effective_rank(d))
        return ComponentChange(
            component=component,
            role=part.role,
            tensors=len(mine),
            changed=len(sizes),
            relative_norm=(squares[0] / squares[1]) ** 0.5 if squares[1] else 0.0,
            median_rank=float(np.median(ranks)) if ranks else 0.0,
            layers=tuple(sorted(sizes, key=sizes.__getitem__, reverse=True)[: self.listed]),
            pattern=self._pattern(set(sizes), len(mine), part, suspect),
        )

    def _pattern(self, changed: Set[str], tensors: int, part: Part, suspect: Subject) -> ChangePattern:
        """Which of the ``tensors`` are ``changed``, as far as that tells how they were."""
        if not changed:
            return ChangePattern.UNCHANGED
        if part.role is Role.DENOISER and changed <= suspect.sites.readers().keys():
            return ChangePattern.CROSS_ATTENTION
        if part.role is Role.TEXT and changed <= _embeddings(part.module):
            return ChangePattern.TOKEN_EMBEDDINGS
        return ChangePattern.ALL_LAYERS if len(changed) > self.whole * tensors else ChangePattern.PARTIAL


def _embeddings(text_encoder: torch.nn.Module) -> set[str]:
    """The names of the tensors that hold one row a token."""
    rows = text_encoder.get_input_embeddings().weight  # type: ignore[operator]
    return {name for name, p in text_encoder.named_parameters() if p is rows}


def rounded(w: torch.Tensor, w0: torch.Tensor) -> bool:
    """Whether ``w`` is ``w0``, or exactly what saving ``w0`` in half precision makes of it.

    Saved once, or in both forms, one after the other.

    Not whether it is as near as that: a model can be trained within the distance of rounding (Egashira et
    al. 2024), and a norm over all would hide one changed row of many.
    """
    mine, theirs = w.float(), w0.float()
    half, brain = theirs.half().float(), theirs.bfloat16().float()
    return any(
        torch.equal(mine, saved)
        for saved in (theirs, half, brain, half.bfloat16().float(), brain.half().float())
    )


def effective_rank(d: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007)."""
    s = torch.linalg.svdvals(d)
    p = s / s.sum().clamp(min=1e-30)
    return float(torch.exp(-(p * p.clamp(min=1e-30).log()).sum()))
