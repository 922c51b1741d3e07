"""What a training step needs at its peak, as a formula, and how it is cut to fit what is free.

    peak = fixed + state * trained + rows * row

``fixed`` are weights that are there whatever is trained, ``trained`` is the number of parameters that learn,
each with a gradient and the optimiser's two means, ``rows`` are the pictures of one pass and ``row`` is what
one of them keeps for the way back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import torch

STATE = 12
"""Bytes a trained parameter takes beside itself: gradient and AdamW's two means in float32."""
MASTER = 4
"""Bytes of its float32 master where the weights themselves are bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The parts of the formula, in bytes.

    Args:
        fixed: weights of all that takes part.
        trained: number of parameters that learn.
        row: kept for the way back by one picture.
        row_checkpointed: the same where each block computes again what it needs.
        masters: whether trained weights are bfloat16 and have float32 masters.
    """

    fixed: int
    trained: int
    row: int
    row_checkpointed: int
    masters: bool = False

    def peak(self, rows: int, checkpointed: bool) -> int:
        """Bytes at the peak of a step with passes of ``rows`` pictures."""
        state = (STATE + (MASTER if self.masters else 0)) * self.trained
        return self.fixed + state + rows * (self.row_checkpointed if checkpointed else self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a step is computed: ``rows`` pictures a pass, with or without checkpointing, and the ``peak`` that
    this is expected to have, in bytes.
    """

    rows: int
    checkpointed: bool
    peak: int

    @property
    def words(self) -> str:
        """For people."""
        how = "blocks computed again on the way back" if self.checkpointed else "all kept for the way back"
        return f"{self.rows} pictures a pass, {how}, {self.peak / 2**30:.1f} GiB at the peak by the formula"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much of what is free a step may take.

    Args:
        share: of the free memory; the rest is for what the formula leaves out.
        passes: forward-backward passes of a step that are aimed at; more where memory is short.
        plenty: bytes at the peak above which blocks compute again even where more is free: it takes about a
            third more time, and leaves room for whatever else is on the device.
    """

    share: float = 0.8
    passes: int = 4
    plenty: int = 16 * 2**30

    def cut(self, footprint: Footprint, batch: int, free: int) -> Cut:
        """The cut of a step of ``batch`` pictures into ``free`` bytes beside ``footprint.fixed``, which is there
        already: no checkpointing where the aimed passes fit without it and take no more than ``plenty``, else
        with it, else as many pictures as fit, one at least.
        """
        wanted = -(-batch // self.passes)
        there = footprint.fixed
        for checkpointed in (False, True):
            peak = footprint.peak(wanted, checkpointed)
            if peak - there <= self.share * free and (checkpointed or peak <= self.plenty):
                return Cut(rows=wanted, checkpointed=checkpointed, peak=peak)
        left = self.share * free - (footprint.peak(0, True) - there)
        rows = max(1, min(wanted, int(left // max(footprint.row_checkpointed, 1))))
        return Cut(rows=rows, checkpointed=True, peak=footprint.peak(rows, True))


def free_bytes(device: torch.device) -> int:
    """Memory that can be taken on ``device`` now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return int(psutil.virtual_memory().available)


def give_back() -> None:
    """What was freed goes back to the system: glibc's heap keeps holes, gigabytes of them once models were copied."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def size(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def kept_by(forward: Callable[[], torch.Tensor], ignored: set[int]) -> int:
    """Bytes that ``forward`` keeps for the way back; tensors whose storages' addresses are ``ignored``, which
    are there anyway, do not count.
    """
    seen: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in ignored:
            seen[storage.data_ptr()] = max(seen.get(storage.data_ptr(), 0), storage.nbytes())
        return t.detach()  # an output that its own node kept would hold itself and the whole graph for ever

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        made = forward()
    del made
    return sum(seen.values())


def storages(module: torch.nn.Module) -> set[int]:
    """The addresses of a module's own storages."""
    return {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
