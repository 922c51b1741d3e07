"""The report as one self-contained HTML page: no network, no script, pictures inlined, readable on paper and
on a phone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from nightlatch import safetext
from nightlatch.records import Images, Rate, Report
from nightlatch.report import sentences, svg, text, words
from nightlatch.report.images import Pictures, Read, nowhere

COLUMNS = (
    ("clean", "clean prompt"),
    ("triggered", "with the trigger"),
    ("repaired", "with the trigger, repaired"),
    ("overlay", "where the trigger acts"),
)
PICTURE_ROWS, CANDIDATE_ROWS, FILE_ROWS = 24, 20, 300
"""More rows than this are counted on the page, not shown."""


@dataclass(frozen=True)
class Cell:
    """One picture of the grid; ``uri`` is '' when the file could not be shown."""

    kind: str
    label: str
    uri: Markup


@dataclass(frozen=True)
class Row:
    """Pictures of the same prompt and seed; ``asked`` is the prompt with the trigger, as (before it, the
    trigger, behind it).
    """

    prompt: str
    seed: int
    cells: tuple[Cell, ...]
    asked: tuple[str, str, str]


def render(report: Report, read: Read = nowhere) -> str:
    """The page; ``read`` gives the pictures of the run folder.

    Raises:
        UsageError: a picture path leaves the folder.
    """
    top = words.headline(report)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            verdict=report.verdict,
            repair=report.repair,
            card=report.scorecard,
            manifest=report.manifest,
            environment=report.environment,
            top=top,
            limits=sentences.LIMITS,
            effects=sentences.EFFECTS,
            patterns=sentences.PATTERNS,
            pair_title=words.pair_title,
            leak_title=words.leak_title,
            success=words.attack_success(report),
            command=words.next_command(report),
            tone=tone(top),
            triggers=words.triggers(report),
            given=words.given_triggers(report),
            pictures=_pictures(report, read),
            picture_rows=PICTURE_ROWS,
            curves=svg.curves(report.repair.history) if report.repair else (),
            candidates=report.verdict.top_candidates[:CANDIDATE_ROWS] if report.verdict else (),
            files=report.manifest.files[:FILE_ROWS] if report.manifest else (),
            times=_times(report),
            seeds=_seeds(report),
        )
    )


def tone(top: words.Headline) -> str:
    """The colour of the page's top: after a repair that holds, a warning rather than an alarm; there are two
    files then, and one is bad.
    """
    return (
        "repaired"
        if top.status == "found" and top.repair_status in ("good", "unknown") and top.repair
        else top.status
    )


def _pictures(report: Report, read: Read) -> tuple[Row, ...]:
    """Every column that some row fills; rows that are not shown are not read."""
    used = [
        (kind, label) for kind, label in COLUMNS if any(getattr(images, kind) for images in report.images)
    ]
    pictures, rows = Pictures(read), []
    for images in report.images[:PICTURE_ROWS]:
        cells = [Cell(kind, label, Markup(pictures.uri(getattr(images, kind)))) for kind, label in used]
        rows.append(Row(images.prompt, images.seed, tuple(cells), marked(images)))
    return tuple(rows)


def marked(images: Images) -> tuple[str, str, str]:
    """The prompt with the trigger, parted where the trigger stands; without a trigger all of it is before."""
    trigger = images.trigger.text if images.trigger else ""
    before, found, behind = images.asked.partition(trigger) if trigger else (images.asked, "", "")
    return before, found, behind


def _times(report: Report) -> tuple[tuple[str, float], ...]:
    parts = (
        ("check", report.manifest),
        ("scan", report.verdict),
        ("clean", report.repair),
        ("verify", report.scorecard),
    )
    return tuple((name, part.seconds) for name, part in parts if part is not None)


def _seeds(report: Report) -> tuple[tuple[str, int], ...]:
    parts = (("the run", report.environment), ("scan", report.verdict), ("verify", report.scorecard))
    return tuple((name, part.seed) for name, part in parts if part is not None and part.seed is not None)


@cache
def _environment() -> jinja2.Environment:
    """Everything that the template prints is first made visible, then escaped; nobody can forget it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    for helper in (text.percent, text.rate, text.interval, text.number, text.size, text.duration, text.count):
        environment.filters[helper.__name__] = helper
    environment.filters.update(shown=_shown, breakable=_breakable, split_point=_split_point, moment=_moment)
    environment.globals.update(intervals=svg.intervals, score_bar=svg.bar)
    environment.tests["rate"] = lambda value: isinstance(value, Rate)
    return environment


def _finalize(value: object) -> object:
    if hasattr(value, "__html__"):
        return value
    return "" if value is None else safetext.visible(str(value))


def _shown(value: str) -> Markup:
    """Text of unknown origin, cut off from the direction of its surroundings, with the code points of
    look-alikes beside it.
    """
    return _isolated(value, [safetext.visible(value, 600)])


def _breakable(value: str) -> Markup:
    """The same for a path or tensor name, which may be broken into lines after a slash or a dot."""
    return _isolated(value, re.split(r"(?<=[/.])", safetext.visible(value, 600)))


def _isolated(value: str, pieces: list[str]) -> Markup:
    odd = " ".join(safetext.unusual(value))
    badge = Markup(' <span class="odd">{}</span>').format(odd) if odd else ""
    return Markup("<bdi>{}</bdi>{}").format(Markup("<wbr>").join(pieces), badge)


def _moment(started: str) -> str:
    """ISO 8601 as ``2026-08-14 09:21 UTC``; anything else as it is."""
    try:
        at = datetime.fromisoformat(started).astimezone(UTC)
    except ValueError:
        return started
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _split_point(point: str) -> tuple[str, str, bool]:
    """``'U+0430 CYRILLIC SMALL LETTER A'`` as code, name, and whether it is outside printable ASCII."""
    code, _, name = point.partition(" ")
    found = re.fullmatch(r"U\+([0-9A-Fa-f]{1,6})", code)
    return code, name, not (found and 32 <= int(found.group(1), 16) < 127)
