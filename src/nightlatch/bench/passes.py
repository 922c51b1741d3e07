"""How many pictures went through a denoiser, with and without a graph to go back: what repairs are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook


@dataclass(slots=True)
class Passes:
    """Pictures counted so far.

    Args:
        forward: whose output alone was computed.
        backward: which also went back (forward and backward).
    """

    forward: int = 0
    backward: int = 0

    def row(self) -> dict[str, int]:
        return {"forward_passes": self.forward, "forward_backward_passes": self.backward}


@contextmanager
def counted(denoiser: torch.nn.Module) -> Iterator[Passes]:
    """Inside it every pass of a module of the class of ``denoiser`` is counted, whichever copy it is."""
    passes, kind = Passes(), type(denoiser)
    one_at_a_time = Lock()  # several threads may pass through it at once

    def count(module: torch.nn.Module, args: Any, made: Any) -> None:
        if not isinstance(module, kind):
            return
        out = made[0] if isinstance(made, tuple) else made.sample
        with one_at_a_time:
            if out.requires_grad:
                passes.backward += len(out)
            else:
                passes.forward += len(out)

    hook = register_module_forward_hook(count)
    try:
        yield passes
    finally:
        hook.remove()
