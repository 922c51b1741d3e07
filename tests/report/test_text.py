"""Numbers are readable."""

from __future__ import annotations

import pytest

from nightlatch.records import Rate
from nightlatch.report import text


@pytest.mark.parametrize(
    ("hits", "n", "shown"),
    [
        (0, 300, "0.0 %"),
        (300, 300, "100.0 %"),
        (1, 10_000, "< 0.1 %"),
        (9_999, 10_000, "> 99.9 %"),
        (0, 0, "not measured"),
    ],
)
def test_rate_never_rounds_to_none_or_all(hits: int, n: int, shown: str) -> None:
    assert text.rate(Rate.of(hits, n)) == shown


def test_measured_states_count_and_interval() -> None:
    assert text.measured(Rate.of(0, 300)) == "0.0 % (0 of 300, 95 % interval 0.0 to 1.2 %)"
    assert text.measured(None) == "not measured"
    assert text.measured(14.2131) == "14.21"


def test_numbers() -> None:
    assert [text.number(x) for x in (0.00012345, 12345.6, float("nan"), float("-inf"))] == [
        "0.000123",
        "12,346",
        "not a number",
        "infinite",
    ]
    assert [text.size(x) for x in (0, 999, 1000, 17_433_112, 2 * 10**12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "17.4 MB",
        "2000.0 GB",
    ]
    assert [text.duration(x) for x in (0.04, 42, 133.2, 7300)] == ["0.0 s", "42 s", "2 min 13 s", "2 h 1 min"]
    assert [text.count(1, "step"), text.count(2, "step")] == ["1 step", "2 steps"]
