"""The report as JUnit XML for CI systems: one test case per check, 'skipped' for what could not be judged."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

from nightlatch.records import Pair, Report, Scorecard
from nightlatch.report.text import count, measured
from nightlatch.report.words import headline, leak_title, pair_title
from nightlatch.safetext import visible

Add = Callable[[str, str, str], None]


def render(report: Report) -> str:
    """JUnit XML with the suites check, scan and verify. Failure: found or below the bar; error: refused, or
    could not tell.
    """
    root = ET.Element("testsuites", name="nightlatch")
    _suite(
        root, "check", report.manifest.seconds if report.manifest else 0.0, lambda add: _check(report, add)
    )
    if report.scope == "model":
        _suite(
            root, "scan", report.verdict.seconds if report.verdict else 0.0, lambda add: _scan(report, add)
        )
    card = report.scorecard
    if card is not None:
        _suite(root, "verify", card.seconds, lambda add: _verify(card, add))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return written.decode("ascii") + "\n"


def _suite(root: ET.Element, name: str, seconds: float, fill: Callable[[Add], None]) -> None:
    suite = ET.SubElement(root, "testsuite", name=name, time=f"{seconds:.3f}")

    def add(case: str, outcome: str, message: str) -> None:
        node = ET.SubElement(suite, "testcase", classname=f"nightlatch.{name}", name=visible(case, 300))
        if outcome == "passed":
            ET.SubElement(node, "system-out").text = visible(message)
        else:
            ET.SubElement(node, outcome, message=visible(message))

    fill(add)
    outcomes = {
        "tests": "testcase",
        "failures": "testcase/failure",
        "errors": "testcase/error",
        "skipped": "testcase/skipped",
    }
    for label, path in outcomes.items():
        suite.set(label, str(len(suite.findall(path))))


def _check(report: Report, add: Add) -> None:
    if report.manifest is None:
        add("static rules", "skipped", "The files were not checked.")
        return
    for finding in report.manifest.findings:
        outcome = {"error": "error", "warning": "failure", "note": "passed"}[finding.severity]
        where = f" [{finding.file}]" if finding.file else ""
        add(
            f"{finding.rule}{where}",
            outcome,
            f"{finding.severity}: {finding.sentence} {finding.remedy}".strip(),
        )
    if not report.manifest.findings:
        add(
            "static rules",
            "passed",
            f"No static rule was broken by {count(len(report.manifest.files), 'file')}.",
        )


def _scan(report: Report, add: Add) -> None:
    top = headline(report)
    outcome = {"found": "failure", "suspicious": "failure", "nothing": "passed", "unknown": "error"}[
        top.status
    ]
    add("verdict", outcome, f"{top.word}. {top.action} {top.meaning}")
    if report.verdict is None:
        return
    for trigger in report.verdict.triggers:
        add(
            f"trigger {trigger.text}",
            "failure",
            f"{' '.join(trigger.code_points)}; changed {measured(trigger.changed)}",
        )
    for picture in report.verdict.pictures:
        turned = f"stands out by {picture.anomaly:.1f}; turned {measured(picture.flips)}"
        add(f"trigger in pictures, {picture.finder}: {picture.target}", "failure", turned)
    for sentence in report.verdict.tested:
        add(sentence, "passed", "tested")
    for sentence in report.verdict.not_tested:
        add(sentence, "skipped", "not tested")
    for sentence in report.verdict.skipped:
        add(sentence, "skipped", "could not run")


def _verify(card: Scorecard, add: Add) -> None:
    outcome = {"removed": "passed", "not verified": "skipped"}.get(card.verdict, "failure")
    add("scorecard", outcome, card.verdict)
    for pair in card.pairs:
        add(pair_title(card, pair), *_judged(pair))
    for leak in card.leak:
        add(
            f"leak {leak_title(card, leak)}",
            "skipped",
            f"counted, judged together with the other variants; rate after repair: {measured(leak.rate)}",
        )
    if card.regrowth is not None:
        add(f"regrowth after {card.regrowth_steps} steps", "passed", measured(card.regrowth))


def _judged(pair: Pair) -> tuple[str, str]:
    outcome = {True: "passed", False: "failure", None: "skipped"}[pair.passed]
    bar = f"; bar: {pair.bar}" if pair.bar else ""
    return outcome, f"before {measured(pair.before)}; after {measured(pair.after)}{bar}"
