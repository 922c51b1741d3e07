"""Which weights differ from the trusted base, where, by how much and with what rank. Seconds; no forward pass."""

from __future__ import annotations

import numpy as np
import torch

from nightlatch.records import ComponentChange
from nightlatch.terms import ChangePattern
from nightlatch.text2image.model import Subject


def fingerprint(suspect: Subject, base: Subject) -> tuple[ComponentChange, ...]:
    """One row per component, changed or not; components whose tensors do not match in name or shape count as changed whole."""
    return tuple(compare(name, part, base.components[name]) for name, part in suspect.components.items())


def compare(component: str, suspect: torch.nn.Module, base: torch.nn.Module) -> ComponentChange:
    """The change of one component: number of changed tensors, ||dW|| / ||W||, median effective rank, and the most changed tensors."""
    theirs = base.state_dict()
    sizes: dict[str, float] = {}
    ranks: list[float] = []
    squares = [0.0, 0.0]
    mine = {k: v for k, v in suspect.state_dict().items() if v.is_floating_point()}
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
        if d.ndim == 2 and min(d.shape) > 1 and max(d.shape) <= 4096:
            ranks.append(effective_rank(d))
    largest = tuple(sorted(sizes, key=sizes.__getitem__, reverse=True)[:8])
    return ComponentChange(
        component=component,
        role=ROLES.get(component),
        tensors=len(mine),
        changed=len(sizes),
        relative_norm=(squares[0] / squares[1]) ** 0.5 if squares[1] else 0.0,
        median_rank=float(np.median(ranks)) if ranks else 0.0,
        layers=largest,
        pattern=pattern(component, set(sizes), len(mine)),
    )


def rounded(w: torch.Tensor, w0: torch.Tensor) -> bool:
    """Whether ``w`` is ``w0``, or exactly what saving ``w0`` in half precision, once or in both forms, makes of it. Not whether it is as near as
    that: a model can be trained within the distance of rounding (Egashira et al. 2024), and a norm over all would hide one changed row of many."""
    mine, theirs = w.float(), w0.float()
    half, brain = theirs.half().float(), theirs.bfloat16().float()
    return any(torch.equal(mine, saved) for saved in (theirs, half, brain, half.bfloat16().float(), brain.half().float()))


def effective_rank(d: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007)."""
    s = torch.linalg.svdvals(d)
    p = s / s.sum().clamp(min=1e-30)
    return float(torch.exp(-(p * p.clamp(min=1e-30).log()).sum()))


def pattern(component: str, changed: set[str], tensors: int) -> ChangePattern:
    """Which of its ``tensors`` are ``changed``, as far as that tells how (notes on known attacks and honest tuning)."""
    if not changed:
        return ChangePattern.UNCHANGED
    if all(n.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) for n in changed):
        return ChangePattern.CROSS_ATTENTION
    if component == "text_encoder" and all("token_embedding" in n for n in changed):
        return ChangePattern.TOKEN_EMBEDDINGS
    if len(changed) > 0.8 * tensors:
        return ChangePattern.ALL_LAYERS
    return ChangePattern.PARTIAL


def changed_components(rows: tuple[ComponentChange, ...]) -> tuple[str, ...]:
    """Names of the components that differ."""
    return tuple(r.component for r in rows if r.changed)
