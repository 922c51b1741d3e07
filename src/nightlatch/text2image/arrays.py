"""From tensors on any device to numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]


def floats(x: torch.Tensor) -> Floats:
    """``x`` in double precision, same shape. It leaves the device first, for not every device has double
    precision.
    """
    values: Floats = x.cpu().double().numpy()
    return values
