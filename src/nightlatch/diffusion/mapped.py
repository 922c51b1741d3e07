"""Tensors that lie in files, of which only the rows that are looked at are read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

ROOM = 2
"""So many times what is written must be free on the disk."""


def mapped(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
    """Copies of ``tensors`` on the processor's side that lie in files of the temporary folder (``TMPDIR``); None
    where there is not room enough.

    The files have no name any more when this returns, so that nothing is left behind however the process ends.
    """
    with tempfile.TemporaryDirectory(prefix="nightlatch-", ignore_cleanup_errors=True) as folder:
        needed = sum(t.numel() * t.element_size() for t in tensors)
        if shutil.disk_usage(folder).free < ROOM * needed:
            return None
        return [_copy(t, Path(folder) / str(i)) for i, t in enumerate(tensors)]


def _copy(tensor: torch.Tensor, file: Path) -> torch.Tensor:
    if not tensor.numel():
        return tensor.cpu()
    lies = torch.from_file(str(file), shared=True, size=tensor.numel(), dtype=tensor.dtype)
    return lies.view(tensor.shape).copy_(tensor)
