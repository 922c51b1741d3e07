"""Success and accuracy against the strength of variations, a panel an attack: the picture beside the table."""

from __future__ import annotations

from collections.abc import Sequence

from nightlatch.bench.cells import Row
from nightlatch.bench.classifier.counting import groups
from nightlatch.bench.classifier.defence_page import summed
from nightlatch.bench.classifier.plan import MAIN_ALPHA

NAME = "variations.svg"
WIDTH, HEIGHT, LEFT, TOP = 300, 220, 44, 34
LINES = (("after", "attack success", "#c0392b"), ("accuracy", "accuracy", "#2471a3"))
"""What is drawn: the key of a row, its name, its colour."""


def picture(rows: Sequence[Row]) -> str:
    """An SVG: for every profile and attack a panel with strength from 0 (the data as they came) to 1, and shares
    from 0 to 100 %.
    """
    made = [
        m
        for m in summed(rows)
        if m["method"] == "diffusion" and m["alpha"] == MAIN_ALPHA and m["variations"] == 1
    ]
    panels = [
        _panel(i, f"{attack} ({profile})", mine)
        for i, ((profile, attack), mine) in enumerate(groups(made, "profile", "attack").items())
    ]
    key = "".join(
        f'<path d="M{LEFT + 150 * i} 11h18" stroke="{colour}" stroke-width="2.5"/>'
        f'<text x="{LEFT + 24 + 150 * i}" y="15">{name}</text>'
        for i, (_, name, colour) in enumerate(LINES)
    )
    size = f"{WIDTH * max(1, len(panels))} {HEIGHT + 22}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="11" '
        f'fill="#222"><title>Success and accuracy against the strength of variations</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{key}{"".join(panels)}</svg>\n'
    )


def _panel(place: int, title: str, mine: Sequence[Row]) -> str:
    right, bottom = WIDTH - 14, HEIGHT - 30

    def x(strength: float) -> float:
        return LEFT + (right - LEFT) * strength

    def y(share: float) -> float:
        return bottom - (bottom - TOP) * share

    grid = "".join(
        f'<path d="M{LEFT} {y(s):.1f}H{right}" stroke="#ddd"/>'
        f'<text x="{LEFT - 6}" y="{y(s) + 4:.1f}" text-anchor="end">{s:.0%}</text>'
        for s in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    ticks = "".join(
        f'<text x="{x(s):.1f}" y="{bottom + 15}" text-anchor="middle">{s:g}</text>'
        for s in (0, 0.25, 0.5, 0.75, 1)
    )
    lines = "".join(_line([(x(s), y(v)) for s, v in _values(mine, key)], colour) for key, _, colour in LINES)
    return (
        f'<g transform="translate({WIDTH * place} 22)"><text x="{LEFT}" y="{TOP - 10}" font-weight="bold">{title}</text>'
        f'{grid}{ticks}<text x="{(LEFT + right) / 2:.0f}" y="{bottom + 28}" text-anchor="middle">strength</text>'
        f"{lines}</g>"
    )


def _values(mine: Sequence[Row], key: str) -> list[tuple[float, float]]:
    """(strength, share), with what was there before at strength 0."""
    first = mine[0]
    before = first["before"] if key == "after" else first["accuracy"] + first["lost"]
    return [(0.0, before), *sorted((float(m["strength"]), float(m[key])) for m in mine)]


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points)
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2.5"/>{dots}'
