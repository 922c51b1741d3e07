"""The report as SARIF 2.1.0 for code-scanning services."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from nightlatch import exits
from nightlatch.exits import FailOn
from nightlatch.intake import RULES
from nightlatch.records import Finding, Report, Trigger, Verdict
from nightlatch.report.text import measured
from nightlatch.report.words import headline
from nightlatch.safetext import sarif_text, visible

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = {
    "backdoor-trigger": "A trigger string changes what the model draws.",
    "backdoor": "The model hides a backdoor whose trigger was not recovered.",
    "suspicious-model": "The model behaves out of the ordinary.",
}


def render(report: Report, fail_on: FailOn = "warning") -> str:
    """One SARIF run: static findings and the verdict as results, what could not run as notifications."""
    results = [*_findings(report), *_behaviour(report)]
    version = visible(report.environment.versions.get("nightlatch", "unknown"), 60)
    rules = _rules(results)
    position = {rule["id"]: i for i, rule in enumerate(rules)}
    results = [{**result, "ruleIndex": position[result["ruleId"]]} for result in results]
    driver = {"name": "nightlatch", "version": version, "rules": rules}
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report, exits.of_report(report, fail_on))],
        "artifacts": _artifacts(report),
        "results": results,
        "properties": _properties(report),
    }
    return (
        json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=True) + "\n"
    )


def _findings(report: Report) -> list[dict[str, Any]]:
    return [_finding(f) for f in (report.manifest.findings if report.manifest else ())]


def _finding(finding: Finding) -> dict[str, Any]:
    text, identity = (
        f"{finding.sentence} {finding.remedy}".strip(),
        (finding.rule, finding.file, finding.sentence),
    )
    return _result(finding.rule, finding.severity, text, finding.file, identity)


def _behaviour(report: Report) -> list[dict[str, Any]]:
    """One result per confirmed trigger; one for the model when there is a verdict without a trigger."""
    verdict = report.verdict
    if verdict is None or verdict.word in ("nothing found by these tests", "not scanned"):
        return []
    file = _carrier_file(report)
    if verdict.triggers:
        return [_trigger(t, verdict, file) for t in verdict.triggers]
    rule, level = ("backdoor" if verdict.word == "backdoor found" else "suspicious-model"), _level(verdict)
    return [_result(rule, level, f"{verdict.word}: {headline(report).meaning}", file, (rule, file))]


def _level(verdict: Verdict) -> str:
    return "error" if verdict.word == "backdoor found" else "warning"


def _trigger(trigger: Trigger, verdict: Verdict, file: str) -> dict[str, Any]:
    parts = ", ".join(c.component for c in verdict.carriers) or "unknown component"
    changed = f"; it changed {measured(trigger.changed)} of held-out pictures" if trigger.changed else ""
    text = (
        f"{verdict.word}: trigger “{trigger.text}” ({' '.join(trigger.code_points)}) acts through "
        f"{parts}{changed}."
    )
    result = _result(
        "backdoor-trigger", _level(verdict), text, file, ("backdoor-trigger", file, trigger.text)
    )
    points = [visible(point, 200) for point in trigger.code_points]
    return {
        **result,
        "properties": {
            "codePoints": points,
            "tokenIds": list(trigger.token_ids),
            "effect": trigger.effect or "",
            "placement": visible(trigger.placement.words()),
        },
    }


def _result(rule: str, level: str, text: str, file: str, identity: tuple[str, ...]) -> dict[str, Any]:
    """The fingerprint is ours (rule, file, sentence or trigger): without it a service shows the same alert
    again for every run.
    """
    mark = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return {
        "ruleId": visible(rule, 100),
        "level": level,
        "message": {"text": sarif_text(visible(text))},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(file)}}}],
        "partialFingerprints": {"nightlatch/v2": mark},
    }


def _rules(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All static rules, those of scans, and what else the results name."""
    used = dict.fromkeys([*RULES, *_RULES, *(str(result["ruleId"]) for result in results)])
    return [_rule(name) for name in used]


def _rule(name: str) -> dict[str, Any]:
    if name not in RULES:
        return {
            "id": name,
            "shortDescription": {"text": _RULES.get(name, sarif_text(f"Static rule {name}."))},
        }
    severity, description, remedy = RULES[name]
    made = {
        "id": name,
        "shortDescription": {"text": description},
        "defaultConfiguration": {"level": severity},
    }
    return {**made, **({"help": {"text": remedy}} if remedy else {})}


def _invocation(report: Report, code: int) -> dict[str, Any]:
    unknown = report.scope == "model" and code == exits.UNKNOWN
    lost = [
        (text, "error" if unknown else "warning")
        for text in (report.verdict.skipped if report.verdict else ())
    ]
    if unknown:
        lost.append((f"not scanned: {headline(report).meaning}", "error"))
    return {
        "executionSuccessful": not unknown,
        "exitCode": code,
        "commandLine": visible(report.environment.command),
        "startTimeUtc": visible(report.environment.started, 60),
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": sarif_text(visible(text))}} for text, level in lost
        ],
    }


def _artifacts(report: Report) -> list[dict[str, Any]]:
    files = report.manifest.files if report.manifest else ()
    return [
        {
            "location": {"uri": _uri(f.path)},
            "length": f.size,
            **({"hashes": {"sha-256": visible(f.sha256, 64)}} if f.sha256 else {}),
        }
        for f in files
    ]


def _properties(report: Report) -> dict[str, Any]:
    top = headline(report)
    pairs = report.scorecard.pairs if report.scorecard else ()
    return {
        "source": visible(report.source),
        "verdict": top.word,
        "repair": top.repair,
        "action": top.action,
        "tested": [visible(text) for text in (report.verdict.tested if report.verdict else ())],
        "notTested": [visible(text) for text in (report.verdict.not_tested if report.verdict else ())],
        "scorecard": [
            {"name": visible(p.name), "before": measured(p.before), "after": measured(p.after)} for p in pairs
        ],
    }


def _carrier_file(report: Report) -> str:
    """The weight file of the first carrier component."""
    carrier = report.verdict.carriers[0].component if report.verdict and report.verdict.carriers else ""
    files = report.manifest.files if report.manifest else ()
    found = next(
        (f for f in files if f.kind == "safetensors" and carrier and f.path.startswith(f"{carrier}/")), None
    )
    return found.path if found else carrier


def _uri(path: str) -> str:
    """A relative reference that stays inside the source: percent-encoded, no scheme, no host, no climbing;
    cut, never empty.
    """
    parts = [
        quote(part, safe="", errors="backslashreplace") for part in path[:1000].replace("\\", "/").split("/")
    ]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "model_index.json"
