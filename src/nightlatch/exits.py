"""The exit policy: what ``check``, ``scan`` and every view of a report end with. 2 outranks 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from nightlatch.errors import UsageError
from nightlatch.records import Finding, Manifest, Report, Scorecard, Severity, Verdict

NOTHING, FOUND, UNKNOWN, INTERRUPTED = 0, 1, 2, 130
FailOn = Literal["warning", "error", "found"]
"""What counts as found: a static warning too, an error at least (which is also 2), or only what a scan
found.
"""


def of_files(manifest: Manifest, fail_on: FailOn = "warning") -> int:
    """2 refused or of a kind that is not scanned, 1 a warning that counts, 0 nothing found; other notes
    change nothing.
    """
    if manifest.refused or manifest.unsupported:
        return UNKNOWN
    return FOUND if fail_on == "warning" and warnings(manifest.findings) else NOTHING


def of_scan(manifest: Manifest | None, verdict: Verdict | None, fail_on: FailOn = "warning") -> int:
    """2 could not tell, 1 found, 0 nothing found. A verdict without the files that it is about tells nothing.

    A kind that a check alone leaves open, such as an adapter that scan merges by its definition, is told by
    the verdict.
    """
    if manifest is None or verdict is None or verdict.word == "not scanned":
        return UNKNOWN
    files = (
        UNKNOWN
        if manifest.refused
        else FOUND
        if fail_on == "warning" and warnings(manifest.findings)
        else NOTHING
    )
    found = verdict.word != "nothing found by these tests"
    return max(files, FOUND if found else NOTHING)


def of_report(report: Report, fail_on: FailOn = "warning") -> int:
    """What every view of ``report`` states: that of its files where only they were asked about, else that of
    the scan.
    """
    if report.scope == "files" and report.manifest is not None:
        return of_files(report.manifest, fail_on)
    return of_scan(report.manifest, report.verdict, fail_on)


def of_scorecard(card: Scorecard) -> int:
    """0 removed, 1 not removed or harmed, 2 not verified."""
    return {"removed": NOTHING, "not verified": UNKNOWN}.get(card.verdict, FOUND)


def warnings(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are suspicious."""
    severity: Severity = "warning"
    return [f for f in findings if f.severity == severity]


def policy(wanted: str) -> FailOn:
    """``wanted`` as one of the policies.

    Raises:
        UsageError: there is no such policy.
    """
    for known in get_args(FailOn):
        if wanted == known:
            policy: FailOn = known
            return policy
    raise UsageError(f"There is no policy {wanted!r}.", f"Known: {', '.join(get_args(FailOn))}.")
