"""Parts of a batch at once.

On a processor models as small as text encoders, or as the denoisers of small pictures, hardly gain from threads
inside every operation; threads that each take some of the rows do (about half as fast again on two cores).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def in_parts(compute: Callable[[slice], T], n: int, most: int, device: torch.device) -> list[T]:
    """What ``compute`` gives for the rows of each part of ``n``, in order; of no more than ``most`` at once.

    On a processor each part has a thread, and the threads that torch is allowed are shared out among them;
    elsewhere, or with one thread, one part follows the other. Gradients and autocast are inside as they are
    outside.
    """
    threads = max(1, min(torch.get_num_threads() if device.type == "cpu" else 1, most, n))
    rows = max(1, most // threads if n > most else -(-n // threads))
    parts = [slice(i, i + rows) for i in range(0, max(n, 1), rows)]
    if threads < 2:
        return [compute(part) for part in parts]
    before, grad = torch.get_num_threads(), torch.is_grad_enabled()
    cast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def alone(part: slice) -> T:
        torch.set_num_threads(max(1, before // threads))  # inside this thread
        with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype, enabled=cast):
            return compute(part)

    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, parts))
    finally:
        torch.set_num_threads(before)  # threads made later begin with what was set last
