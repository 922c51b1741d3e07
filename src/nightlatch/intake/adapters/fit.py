"""What the definitions of all kinds of adapters share: arrays, and the word for parts that do not fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


class NoFit(ValueError):
    """The parts of a layer do not fit each other or the weight that they go on; the sentence says how."""
