"""Where a classifier's features can be read: its last linear layer, and the last sub-module of each
resolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nightlatch.errors import UsageError

STAGES = 3
"""Feature maps that are read: the usual networks halve their resolution three times or more, and the first
edges say little.
"""


def head_of(module: nn.Module, classes: int) -> str:
    """Name of the last linear layer with one output per class.

    Raises:
        UsageError: there is none.
    """
    fits = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and part.out_features == classes
    ]
    if not fits:
        raise UsageError(
            f"The model has no linear layer with {classes} outputs, one per class.",
            "Name the layer that gives the logits.",
        )
    return str(fits[-1])


@torch.no_grad()
def find_taps(module: nn.Module, blank: torch.Tensor, head: str) -> tuple[str, ...]:
    """Names of up to ``STAGES`` sub-modules, shallow to deep: the last one of each of the deepest
    resolutions, or, where all have one resolution (a ViT), those at even depths."""
    order: list[tuple[str, tuple[int, ...]]] = []

    def listen(name: str) -> Any:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            shape = tuple(first_tensor(out).shape) if has_tensor(out) else ()
            if len(shape) == 3 or (len(shape) == 4 and shape[2] * shape[3] > 1):
                order.append((name, shape[2:] if len(shape) == 4 else shape[1:2]))

        return hook

    hooks = [
        part.register_forward_hook(listen(name))
        for name, part in module.named_modules()
        if name and name != head
    ]
    try:
        module(blank)
    finally:
        for h in hooks:
            h.remove()
    grids = {where: name for name, where in order if len(where) == 2}
    if len(grids) > 1:
        return tuple(grids.values())[-STAGES:]
    heard = [name for name, _ in order]
    layers = [name for name in _layers(module) if name in heard] or heard
    return (
        tuple(dict.fromkeys(layers[(len(layers) - 1) * (i + 1) // STAGES] for i in range(STAGES)))
        if layers
        else ()
    )


def _layers(module: nn.Module) -> list[str]:
    """Names of the parts of the longest list of equal parts."""
    lists = [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential)
    ]
    equal = [(name, part) for name, part in lists if len({type(p) for p in part}) == 1]
    name, longest = max(equal, key=lambda pair: len(pair[1]), default=("", nn.ModuleList()))
    return [f"{name}.{k}" for k in range(len(longest))]


def has_tensor(out: Any) -> bool:
    return isinstance(out, torch.Tensor) or (
        isinstance(out, tuple | dict) and len(out) > 0 and has_tensor(_first(out))
    )


def first_tensor(out: Any) -> torch.Tensor:
    """The tensor that a module gives back, or the first of several."""
    while not isinstance(out, torch.Tensor):
        out = _first(out)
    return out


def _first(out: Any) -> Any:
    return next(iter(out.values())) if isinstance(out, dict) else out[0]
