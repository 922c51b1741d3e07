from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from nightlatch.bench import distances


def test_fid_equals_the_textbook_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)), rng.normal(1, 2, size=(300, 6))
    ca, cb = np.cov(a.T), np.cov(b.T)
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * np.real(sqrtm(ca @ cb)))
    assert distances.fid(a, b) == pytest.approx(want, rel=1e-8)
    assert abs(distances.fid(a, a)) < 1e-8


def test_kid_is_near_zero_for_one_distribution_and_positive_for_two():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(200, 6)), rng.normal(size=(200, 6)), rng.normal(1, 1, size=(200, 6))
    assert abs(distances.kid(a, b)) < 0.2
    assert distances.kid(a, c) > 1
