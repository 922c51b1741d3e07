"""Numbers made readable, alike in every view."""

from __future__ import annotations

import math

from nightlatch.records import Rate


def percent(share: float) -> str:
    """``0.9867`` as ``98.7 %``."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "not a number"


def rate(value: Rate) -> str:
    """The share in percent; never ``0.0 %`` when something was hit, never ``100.0 %`` when something was
    missed.
    """
    if not value.n:
        return "not measured"
    shown = percent(value.rate)
    if shown == "0.0 %" and value.hits:
        return "< 0.1 %"
    return "> 99.9 %" if shown == "100.0 %" and value.hits < value.n else shown


def interval(value: Rate) -> str:
    """The 95 % interval as ``96.6 to 99.6 %``."""
    return f"{100 * value.low95:.1f} to {100 * value.high95:.1f} %"


def measured(value: Rate | float | None) -> str:
    """A rate with count and interval, a plain number, or the words that say that there is none."""
    if value is None:
        return "not measured"
    if isinstance(value, Rate):
        return (
            f"{rate(value)} ({value.hits} of {value.n}, 95 % interval {interval(value)})"
            if value.n
            else "not measured"
        )
    return number(value)


def number(value: float) -> str:
    """Four significant digits at most, no exponent where it can be helped."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"


def size(count: int) -> str:
    """Bytes in the largest decimal unit that leaves a number of one or more."""
    if abs(count) < 1000:
        return f"{count} bytes"
    power = min(3, int(math.log10(abs(count)) // 3))
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def duration(seconds: float) -> str:
    """``133.2`` as ``2 min 13 s``."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(n: int, singular: str, plural: str = "") -> str:
    """``1 file``, ``2 files``."""
    return f"{n} {singular if n == 1 else plural or singular + 's'}"
