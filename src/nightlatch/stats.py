"""Intervals and robust scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval for ``hits`` of ``n`` (Clopper and Pearson 1934).

    Raises:
        ValueError: not 0 <= hits <= n.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"hits must lie in 0..{n}, got {hits}")
    if n == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def robust_z(values: npt.NDArray[np.float64], among: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(x - median) / (1.4826 MAD) of ``values``, both taken ``among`` ordinary ones; shape of ``values``. A zero MAD falls back to the standard
    deviation."""
    usual = np.asarray(among, dtype=np.float64)
    centre = np.median(usual)
    spread = 1.4826 * np.median(np.abs(usual - centre)) or float(usual.std()) or 1.0
    z: npt.NDArray[np.float64] = (np.asarray(values, dtype=np.float64) - centre) / spread
    return z
