"""JSON, SARIF, JUnit and the model card say what the record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nightlatch import exits
from nightlatch import report as views
from nightlatch.errors import UsageError
from nightlatch.records import Pair, Report
from nightlatch.report import card, html, jsonview, junit, sarif
from nightlatch.terms import PairKind

from .samples import KINDS, TRIGGER, found_and_repaired, nothing, reader, refused, scorecard, suspicious

WORDS = {
    "found_and_repaired": "backdoor found",
    "found": "backdoor found",
    "nothing": "nothing found by these tests",
    "suspicious": "suspicious",
    "refused": "not scanned",
}


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run_of(report: Report) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(sarif.render(report))
    assert loaded["version"] == "2.1.0"
    assert len(loaded["runs"]) == 1
    run: dict[str, Any] = loaded["runs"][0]
    return run


def test_json_round_trips(kind: str, tmp_path: Path) -> None:
    report = KINDS[kind](tmp_path)
    assert jsonview.parse(jsonview.render(report)) == report


def test_json_keeps_numbers_that_are_none(tmp_path: Path) -> None:
    card_ = scorecard().model_copy(
        update={"pairs": (Pair(kind=PairKind.UTILITY, name="FID", before=float("inf"), after=float("nan")),)}
    )
    report = found_and_repaired(tmp_path).model_copy(update={"scorecard": card_})
    back = jsonview.parse(jsonview.render(report))
    assert back.scorecard is not None
    assert (str(back.scorecard.pairs[0].before), str(back.scorecard.pairs[0].after)) == ("inf", "nan")


def test_json_of_something_else_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="not a report"):
        jsonview.parse('{"source": 1}')


def test_sarif_has_the_shape_that_services_require(kind: str, tmp_path: Path) -> None:
    run = run_of(KINDS[kind](tmp_path))
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    assert run["properties"]["verdict"] == WORDS[kind]
    for result in run["results"]:
        assert result["ruleId"] in rules
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert len(result["partialFingerprints"]["nightlatch/v2"]) == 32


def test_a_suspicious_trigger_is_a_warning_in_sarif(tmp_path):
    report = found_and_repaired(tmp_path)
    report = report.model_copy(update={"verdict": report.verdict.model_copy(update={"word": "suspicious"})})
    (result,) = (r for r in run_of(report)["results"] if r["ruleId"] == "backdoor-trigger")
    assert result["level"] == "warning"
    assert "backdoor found" not in result["message"]["text"]


@pytest.mark.parametrize(("name", "code"), [("found", 1), ("suspicious", 1), ("nothing", 0), ("refused", 2)])
def test_sarif_exit_code(name: str, code: int, tmp_path: Path) -> None:
    invocation = run_of(KINDS[name](tmp_path))["invocations"][0]
    assert invocation["exitCode"] == code
    assert invocation["executionSuccessful"] is (code != 2)
    assert bool([n for n in invocation["toolExecutionNotifications"] if n["level"] == "error"]) is (code == 2)


def test_sarif_trigger_points_at_the_carrier(tmp_path: Path) -> None:
    report = found_and_repaired(tmp_path)
    [result] = [r for r in run_of(report)["results"] if r["ruleId"] == "backdoor-trigger"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "unet/diffusion_pytorch_model.safetensors"
    assert "U+0430 CYRILLIC SMALL LETTER A" in result["properties"]["codePoints"]
    again = [r for r in run_of(report)["results"] if r["ruleId"] == "backdoor-trigger"]
    assert result["partialFingerprints"] == again[0]["partialFingerprints"]


def test_sarif_without_a_trigger_still_reports_the_model(tmp_path: Path) -> None:
    assert "suspicious-model" in [r["ruleId"] for r in run_of(suspicious(tmp_path))["results"]]
    assert [r["ruleId"] for r in run_of(nothing(tmp_path))["results"]] == []


def test_junit_counts_add_up(kind: str, tmp_path: Path) -> None:
    root = ET.fromstring(junit.render(KINDS[kind](tmp_path)))
    for label, path in (
        ("tests", "testcase"),
        ("failures", "*/failure"),
        ("errors", "*/error"),
        ("skipped", "*/skipped"),
    ):
        assert (
            int(root.get(label, ""))
            == sum(int(s.get(label, "")) for s in root)
            == len(root.findall(f"testsuite/{path}"))
        )


def test_junit_outcomes(tmp_path: Path) -> None:
    def outcome(report: Report, suite: str, case: str) -> str:
        node = ET.fromstring(junit.render(report)).find(
            f"testsuite[@name='{suite}']/testcase[@name='{case}']"
        )
        assert node is not None
        return node[0].tag

    repaired = found_and_repaired(tmp_path)
    assert outcome(repaired, "scan", "verdict") == "failure"
    assert outcome(repaired, "verify", "attack success") == "system-out"
    assert outcome(repaired, "verify", "clean agreement") == "failure"
    assert outcome(repaired, "verify", "KID") == "skipped"
    assert outcome(nothing(tmp_path), "scan", "verdict") == "system-out"
    assert outcome(refused(tmp_path), "scan", "verdict") == "error"


def test_card_block_says_what_the_record_says(tmp_path: Path) -> None:
    block = card.parse(card.render(found_and_repaired(tmp_path)))
    assert block["verdict"] == "backdoor found"
    assert block["repair"] == "removed"
    assert block["triggers"] == [{"text": TRIGGER, "token_ids": [4711, 902, 3310]}]
    assert block["attack_success_after"]["n"] == 300
    assert (block["tested"], block["not_tested"], block["skipped"]) == (3, 2, 1)


def test_card_without_a_block_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no nightlatch block"):
        card.parse("# A model\n")


def test_there_are_five_views(kind: str, tmp_path: Path) -> None:
    report = KINDS[kind](tmp_path)
    made = views.render(report, reader(tmp_path))
    assert set(made) == set(views.NAMES.values())
    assert jsonview.parse(made["report.json"]) == report
    assert made["report.html"] == html.render(report, reader(tmp_path))


def test_a_verdict_without_the_files_that_it_is_about_recommends_nothing(tmp_path: Path) -> None:
    report = nothing(tmp_path).model_copy(update={"manifest": None})
    assert "may be loaded" not in "".join(views.render(report).values())
    assert exits.of_report(report) == 2
    assert run_of(report)["invocations"][0]["exitCode"] == 2


def test_all_views_state_one_exit_code(kind: str, tmp_path: Path) -> None:
    report = KINDS[kind](tmp_path)
    assert json.loads(jsonview.render(report))["exit_code"] == run_of(report)["invocations"][0]["exitCode"]
