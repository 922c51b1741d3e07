"""One report, five views: a self-contained HTML page, JSON, SARIF, JUnit XML and a model-card section."""

from __future__ import annotations

import os
from pathlib import Path

from nightlatch.records import Report
from nightlatch.report import card, html, jsonview, junit, sarif
from nightlatch.runs import write_whole

__all__ = ["NAMES", "write"]

NAMES = {"html": "report.html", "json": "report.json", "sarif": "report.sarif", "junit": "report.junit.xml", "card": "card.md"}


def write(report: Report, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write the five views into the run folder, which also holds the pictures that the page shows.

    All of them are rendered before the first is written, and each is written whole or not at all.
    """
    target = Path(folder)
    views = {
        "html": html.render(report, target),
        "json": jsonview.render(report),
        "sarif": sarif.render(report),
        "junit": junit.render(report),
        "card": card.render(report),
    }
    for name, text in views.items():
        write_whole(target / NAMES[name], text)
    return {name: target / file for name, file in NAMES.items()}
