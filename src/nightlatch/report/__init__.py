"""One report, five views: a self-contained HTML page, JSON, SARIF, JUnit XML and a model-card section."""

from __future__ import annotations

from nightlatch.records import Report
from nightlatch.report import card, html, jsonview, junit, sarif
from nightlatch.report.images import Read, nowhere

__all__ = ["NAMES", "render"]

NAMES = {
    "html": "report.html",
    "json": "report.json",
    "sarif": "report.sarif",
    "junit": "report.junit.xml",
    "card": "card.md",
}


def render(report: Report, read: Read = nowhere) -> dict[str, str]:
    """The five views by file name. All of them are made before anybody writes the first.

    Args:
        read: gives the content of a picture by its path inside the run folder.
    """
    return {
        NAMES["html"]: html.render(report, read),
        NAMES["json"]: jsonview.render(report),
        NAMES["sarif"]: sarif.render(report),
        NAMES["junit"]: junit.render(report),
        NAMES["card"]: card.render(report),
    }
