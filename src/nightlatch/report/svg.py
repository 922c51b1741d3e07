"""Small drawings made by code: interval bars, score bars, line plots. Colours come from the page's style
sheet by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from nightlatch.records import Rate
from nightlatch.report.text import number, rate
from nightlatch.safetext import visible


def intervals(before: Rate | None, after: Rate | None) -> Markup:
    """Before and after on one axis from 0 to 100 %: a dot for the share, a band for the 95 % interval."""
    shown = [(r, kind) for r, kind in ((before, "before"), (after, "after")) if r is not None and r.n]
    if not shown:
        return Markup("")
    height = 16 * len(shown)
    spoken = escape(", ".join(f"{kind} {rate(r)}" for r, kind in shown))
    ticks = "".join(f'<path class="tick" d="M{_x(t)} 1V{height - 1}"/>' for t in (0.0, 0.25, 0.5, 0.75, 1.0))
    marks = "".join(_mark(r, 8 + 16 * i, kind) for i, (r, kind) in enumerate(shown))
    return Markup(
        f'<svg class="iv" viewBox="0 0 210 {height}" role="img" aria-label="{spoken}">{ticks}{marks}</svg>'
    )


def bar(share: float) -> Markup:
    """A bar from 0 to 1; anything outside is cut."""
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="8"/><rect class="fill" width="{width:.1f}" height="8"/></svg>'
    )


def curves(history: Sequence[dict[str, float]], limit: int = 6) -> tuple[Markup, ...]:
    """One small plot per recorded quantity against the step, at most ``limit`` of them."""
    names = list(dict.fromkeys(name for row in history for name in row if name != "step"))
    return tuple(
        _curve(name, _points(history, name)) for name in names[:limit] if len(_points(history, name)) > 1
    )


def _points(history: Sequence[dict[str, float]], name: str) -> list[tuple[float, float]]:
    rows = [(row.get("step", float(i)), row[name]) for i, row in enumerate(history) if name in row]
    return [(x, y) for x, y in rows if math.isfinite(x) and math.isfinite(y)]


def _curve(name: str, points: list[tuple[float, float]]) -> Markup:
    """A line in a 260 x 110 box, y from the smallest to the largest value, which are written at the axis."""
    thin = points[:: max(1, len(points) // 400)]
    thin = thin if thin[-1] == points[-1] else [*thin, points[-1]]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = min(y for _, y in points), max(y for _, y in points)
    across, up = (high_x - low_x) or 1.0, (high_y - low_y) or 1.0
    place = [(46 + 206 * (x - low_x) / across, 84 - 72 * (y - low_y) / up) for x, y in thin]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in place)
    (end_x, end_y), title = place[-1], escape(visible(name.replace("_", " "), 40))
    label = f"{title}: from {number(points[0][1])} to {number(points[-1][1])} over {number(across)} steps"
    return Markup(
        f'<figure class="plot"><figcaption>{title} <b>{number(points[-1][1])}</b></figcaption>'
        f'<svg viewBox="0 0 260 110" role="img" aria-label="{label}">'
        '<path class="axis" d="M46 8V88H254"/>'
        f'<text x="42" y="16" text-anchor="end">{high_y:.2g}</text><text x="42" y="86" text-anchor="end">{low_y:.2g}</text>'
        f'<text x="46" y="103">{number(low_x)}</text><text x="254" y="103" text-anchor="end">step {number(high_x)}</text>'
        f'<path class="line" d="{line}"/><circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3"/></svg></figure>'
    )


def _mark(value: Rate, y: int, kind: str) -> str:
    low, high, at = _x(value.low95), _x(value.high95), _x(value.rate)
    return f'<g class="{kind}"><path d="M{low} {y}H{high}"/><circle cx="{at}" cy="{y}" r="3.2"/></g>'


def _x(share: float) -> str:
    return f"{6 + 198 * min(1.0, max(0.0, share if math.isfinite(share) else 0.0)):.1f}"
