"""What ``check`` answers: plain lines, CSV, and the report's own JSON, SARIF and JUnit of a model of which
only the files were read.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping

from nightlatch.exits import FailOn
from nightlatch.provenance import command_line, now, versions
from nightlatch.records import Environment, Manifest, Report
from nightlatch.report import jsonview
from nightlatch.report import junit as junit_view
from nightlatch.report import sarif as sarif_view
from nightlatch.safetext import csv_cell, show

_WIDE = 2_000


def of(manifest: Manifest) -> Report:
    """The report of a model's files alone."""
    about = Environment(command=command_line(), versions=versions(), device="", dtype="", started=now())
    return Report(scope="files", source=manifest.source, environment=about, manifest=manifest)


def human(manifest: Manifest, fail_on: FailOn = "warning") -> str:
    """Plain lines: what was read, one block per finding, and a last line that never says 'safe'."""
    size = sum(f.size for f in manifest.files)
    what = manifest.pipeline_class or "no pipeline"
    lines = [
        f"{show(manifest.source, _WIDE)}: {show(what)}, {len(manifest.files)} entries, {size / 1e6:,.1f} MB"
    ]
    for f in manifest.findings:
        where = f"{show(f.file, _WIDE)}: " if f.file else ""
        lines.append(f"{f.severity:<8}{show(f.rule)}  {where}{show(f.sentence, _WIDE)}")
        if f.remedy and (f.severity != "note" or f.unsupported):
            lines.append(f"{'':<8}{show(f.remedy, _WIDE)}")
    lines.append(_summary(manifest))
    return "\n".join(lines) + "\n"


def as_json(manifest: Manifest, fail_on: FailOn = "warning") -> str:
    """The report, in ASCII."""
    return jsonview.render(of(manifest), fail_on)


def sarif(manifest: Manifest, fail_on: FailOn = "warning") -> str:
    """SARIF 2.1.0, by the writer of all reports."""
    return sarif_view.render(of(manifest), fail_on)


def junit(manifest: Manifest, fail_on: FailOn = "warning") -> str:
    """JUnit XML, by the writer of all reports."""
    return junit_view.render(of(manifest))


def comma_separated(manifest: Manifest, fail_on: FailOn = "warning") -> str:
    """CSV with a header: one line per finding, of use when many models' findings go into one table."""
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("source", "severity", "rule", "file", "sentence", "remedy"))
    for f in manifest.findings:
        lines.writerow(map(csv_cell, (manifest.source, f.severity, f.rule, f.file, f.sentence, f.remedy)))
    return table.getvalue()


VIEWS: Mapping[str, Callable[[Manifest, FailOn], str]] = {
    "human": human,
    "json": as_json,
    "sarif": sarif,
    "junit": junit,
    "csv": comma_separated,
}
"""Every form in which ``check`` answers."""


def _summary(manifest: Manifest) -> str:
    count: Counter[str] = Counter(f.severity for f in manifest.findings)
    outcomes = {"error": "refused: do not load it", "warning": "findings to look at"}
    usual = next(
        (words for severity, words in outcomes.items() if count[severity]), "nothing found by these tests"
    )
    untold = manifest.unsupported and not manifest.refused
    outcome = "not scanned" + (f"; {usual}" if count["warning"] else "") if untold else usual
    numbers = f"{count['error']} errors, {count['warning']} warnings, {count['note']} notes"
    return f"{numbers}: {outcome}. Files only; the model's behaviour was not tested."
