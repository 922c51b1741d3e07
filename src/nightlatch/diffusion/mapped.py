"""Tensors that lie in files, of which only the rows that are looked at are read."""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

ROOM = 2
"""So many times what is written must be free on the disk."""


def mapped(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
    """Copies of ``tensors`` on the processor's side that lie in files of the temporary folder (``TMPDIR``); None
    where there is not room enough.

    The files have no name any more when this returns, so that nothing is left behind however the process ends.
    """
    if not room(sum(t.numel() * t.element_size() for t in tensors)):
        return None
    with tempfile.TemporaryDirectory(prefix="nightlatch-", ignore_cleanup_errors=True) as folder:
        return [_copy(t, Path(folder) / str(i)) for i, t in enumerate(tensors)]


def room(needed: int) -> bool:
    """Whether the temporary folder has room for so many bytes."""
    return shutil.disk_usage(tempfile.gettempdir()).free >= ROOM * needed


@contextmanager
def resting(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Inside it the weights of ``modules``, which nobody asks for, are where memory is not short: those of a card in
    main memory, those of main memory in files if there is room. At its end they are where they were, to the bit.
    """
    parameters = list({id(p): p for m in modules for p in m.parameters()}.values())
    were = [p.device for p in parameters]
    _put_away(parameters)
    try:
        yield
    finally:
        for p, device in zip(parameters, were, strict=True):
            p.data = p.data.to(device, copy=True)


def _put_away(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Nothing but the parameters holds what they hold then, so that each goes when its own comes back."""
    here = [p for p in parameters if p.device.type == "cpu"]
    for p, lies in zip(here, mapped([p.data for p in here]) or (), strict=False):
        p.data = lies
    for p in parameters:
        p.data = p.data.cpu()


def _copy(tensor: torch.Tensor, file: Path) -> torch.Tensor:
    """``tensor`` in ``file``, none of which is in memory before it is looked at."""
    needed = tensor.numel() * tensor.element_size()
    if not needed:
        return tensor.cpu()
    with file.open("w+b") as opened:
        opened.truncate(needed)
        held = mmap.mmap(opened.fileno(), needed)
    lies = torch.frombuffer(held, dtype=tensor.dtype).view(tensor.shape).copy_(tensor)
    if hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)
    return lies
