from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from nightlatch import stats


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_that_of_clopper_and_pearson(case):
    k, n = case
    low, high = stats.interval(k, n)
    assert low == pytest.approx(0.0 if k == 0 else beta.ppf(0.025, k, n - k + 1), abs=1e-9)
    assert high == pytest.approx(1.0 if k == n else beta.ppf(0.975, k + 1, n - k), abs=1e-9)
    assert low <= k / n <= high


def test_known_values():
    assert stats.interval(0, 300)[1] == pytest.approx(0.01222, abs=1e-5)
    with pytest.raises(ValueError, match="hits"):
        stats.interval(4, 3)


def test_robust_z_is_measured_among_the_ordinary():
    """One outlier among them does not move it; where they are all alike but one, the standard deviation
    stands in.
    """
    among = np.array([1.0, 2.0, 3.0, 4.0, 1e6])
    assert stats.robust_z(np.array([3.0, 3.0 + 1.4826]), among) == pytest.approx([0.0, 1.0])
    assert stats.robust_z(np.array([5.0]), np.array([0.0, 0.0, 0.0, 5.0])) == pytest.approx(
        [5.0 / np.std([0, 0, 0, 5])]
    )
