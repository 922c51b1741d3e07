"""A manifest as plain lines, JSON, SARIF 2.1.0, JUnit and CSV. Every text is ASCII by the time it gets here, or is made so."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from nightlatch.intake.rules import RULES, UNTOLD
from nightlatch.records import Finding, Manifest
from nightlatch.safetext import csv_cell, sarif_text, show

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_WIDE = 2_000


def human(manifest: Manifest) -> str:
    """Plain lines: what was read, one block per finding, and a last line that never says 'safe'."""
    size = sum(f.size for f in manifest.files)
    what = manifest.pipeline_class or "no pipeline"
    lines = [f"{show(manifest.source, _WIDE)}: {show(what)}, {len(manifest.files)} entries, {size / 1e6:,.1f} MB"]
    for f in manifest.findings:
        where = f"{show(f.file, _WIDE)}: " if f.file else ""
        lines.append(f"{f.severity:<8}{show(f.rule)}  {where}{show(f.sentence, _WIDE)}")
        if f.remedy and (f.severity != "note" or f.rule in UNTOLD):
            lines.append(f"{'':<8}{show(f.remedy, _WIDE)}")
    lines.append(_summary(manifest))
    return "\n".join(lines) + "\n"


def as_json(manifest: Manifest) -> str:
    """The record itself, in ASCII."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=True) + "\n"


def sarif(manifest: Manifest, version: str = "") -> str:
    """SARIF 2.1.0 with all rules, stable ids, and a fingerprint of rule, file and sentence."""
    ids = [*RULES, *sorted({f.rule for f in manifest.findings} - RULES.keys())]
    driver: dict[str, Any] = {"name": "nightlatch", "rules": [_sarif_rule(i) for i in ids]}
    if version:
        driver["version"] = version
    results = [_sarif_result(f, ids.index(f.rule), manifest.source) for f in manifest.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=True) + "\n"


def junit(manifest: Manifest) -> str:
    """JUnit XML: one test case per rule, failed by warnings, in error by errors; notes go to its output."""
    by_rule: dict[str, list[Finding]] = {rule: [] for rule in RULES}
    for f in manifest.findings:
        by_rule.setdefault(f.rule, []).append(f)
    severities = [{f.severity for f in found} for found in by_rule.values()]
    suite = ElementTree.Element(
        "testsuite", name="nightlatch check", tests=str(len(by_rule)), errors=str(sum("error" in s for s in severities)),
        failures=str(sum("warning" in s for s in severities)), skipped="0", time=f"{manifest.seconds:.3f}",
    )  # fmt: skip
    for rule, found in by_rule.items():
        test = ElementTree.SubElement(suite, "testcase", classname="nightlatch.check", name=show(rule), time="0")
        _junit_outcome(test, found)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def comma_separated(manifest: Manifest) -> str:
    """CSV with a header: one line per finding, of use when many models' findings go into one table."""
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("source", "severity", "rule", "file", "sentence", "remedy"))
    for f in manifest.findings:
        lines.writerow(map(csv_cell, (manifest.source, f.severity, f.rule, f.file, f.sentence, f.remedy)))
    return table.getvalue()


VIEWS: Mapping[str, Callable[[Manifest], str]] = {
    "human": human,
    "json": as_json,
    "sarif": sarif,
    "junit": junit,
    "csv": comma_separated,
}
"""Every form in which ``check`` answers."""


def _junit_outcome(test: ElementTree.Element, found: list[Finding]) -> None:
    text = "\n".join(f"{show(f.file, _WIDE)}: {show(f.sentence, _WIDE)} {show(f.remedy, _WIDE)}".strip(": ") for f in found)
    severity = found[0].severity if found else None
    if severity is not None:
        tag = {"error": "error", "warning": "failure", "note": "system-out"}[severity]
        attributes = {} if severity == "note" else {"message": show(found[0].sentence, _WIDE), "type": show(found[0].rule)}
        ElementTree.SubElement(test, tag, attributes).text = text


def _summary(manifest: Manifest) -> str:
    count: Counter[str] = Counter(f.severity for f in manifest.findings)
    outcomes = {"error": "refused: do not load it", "warning": "findings to look at"}
    untold = any(f.rule in UNTOLD for f in manifest.findings) and not count["error"]
    usual = next((words for severity, words in outcomes.items() if count[severity]), "nothing found by these tests")
    outcome = "not scanned" + (f"; {usual}" if count["warning"] else "") if untold else usual
    numbers = f"{count['error']} errors, {count['warning']} warnings, {count['note']} notes"
    return f"{numbers}: {outcome}. Files only; the model's behaviour was not tested."


def _sarif_rule(rule: str) -> dict[str, Any]:
    if rule not in RULES:
        return {"id": show(rule), "shortDescription": {"text": sarif_text(show(rule))}}
    severity, description, remedy = RULES[rule]
    made: dict[str, Any] = {"id": rule, "shortDescription": {"text": description}, "defaultConfiguration": {"level": severity}}
    if remedy:
        made["help"] = {"text": remedy}
    return made


def _sarif_result(finding: Finding, position: int, source: str) -> dict[str, Any]:
    file = show(finding.file, _WIDE) or PurePath(source).name or "source"
    text = show(f"{finding.sentence} {finding.remedy}".strip(), _WIDE)
    key = "\n".join((finding.rule, finding.file, finding.sentence)).encode("utf-8", "backslashreplace")
    return {
        "ruleId": show(finding.rule),
        "ruleIndex": position,
        "level": finding.severity,
        "message": {"text": sarif_text(text)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(file, errors="backslashreplace")}}}],
        "partialFingerprints": {"nightlatchFinding/v1": hashlib.sha256(key).hexdigest()},
    }
