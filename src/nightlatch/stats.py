"""Intervals and robust scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval for ``hits`` of ``n`` (Clopper and Pearson 1934).

    Raises:
        ValueError: not 0 <= hits <= n.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"hits must lie in 0..{n}, got {hits}")
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # here, for it takes longer to import than a check of files takes

    found = binomtest(hits, n).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def robust_z(values: npt.NDArray[np.float64], among: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(x - median) / (1.4826 MAD) of ``values``, both taken ``among`` ordinary ones; shape of ``values``. A
    zero MAD falls back to the standard deviation."""
    usual = np.asarray(among, dtype=np.float64)
    centre = np.median(usual)
    spread = 1.4826 * np.median(np.abs(usual - centre)) or float(usual.std()) or 1.0
    z: npt.NDArray[np.float64] = (np.asarray(values, dtype=np.float64) - centre) / spread
    return z
