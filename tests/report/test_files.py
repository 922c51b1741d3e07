"""What check answers: the same writers as the report's, on what lies in the files alone."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nightlatch import exits
from nightlatch.exits import FailOn
from nightlatch.intake import RULES, check
from nightlatch.records import FileEntry, Finding, Manifest, Verdict
from nightlatch.report import files, jsonview, sarif

sys.path.append(str(Path(__file__).parents[1] / "intake"))
from intake_fixtures import honest_root, set_keys

UNET = "unet/diffusion_pytorch_model.safetensors"
NASTY = "<img src=x onerror=alert(1)>\x1b[2J\u202e\u200b=cmd|'/c'!A1\ud800"


@pytest.fixture
def model(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the honest pipeline to change."""
    return Path(shutil.copytree(honest_root(tmp_path_factory.getbasetemp()) / "pipeline", tmp_path / "model"))


def nasty() -> Manifest:
    finding = Finding(
        rule="odd-name", severity="warning", file=NASTY, sentence=NASTY + "\n]]>&", remedy=NASTY
    )
    other = Finding(rule="not-in-the-table", severity="error", file="", sentence="x")
    return Manifest(
        source="/tmp/" + NASTY[:-1],
        files=(FileEntry(path="a", size=1, kind="text"),),
        findings=(finding, other),
    )


def test_views_are_harmless_whatever_the_manifest_holds() -> None:
    for view in (v for name, v in files.VIEWS.items() if name != "json"):
        text = view(nasty(), "warning")
        assert text.replace("\n", "").isascii()
        assert text.replace("\n", "").isprintable()
    assert "<img" not in files.junit(nasty())


def test_sarif(model: Path) -> None:
    (model / "unet/extra.bin").write_bytes(b"\x80\x02.")
    manifest = check(model)
    value = json.loads(files.sarif(manifest))
    run = value["runs"][0]
    assert value["version"] == "2.1.0"
    assert {r["id"] for r in run["tool"]["driver"]["rules"]} >= RULES.keys()
    (result,) = run["results"]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "unused-pickle"
    assert result["level"] == "warning"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "unet/extra.bin"
    again = json.loads(files.sarif(check(model)))["runs"][0]["results"][0]
    assert again["partialFingerprints"] == result["partialFingerprints"]


def test_sarif_messages_hold_no_link_and_no_placeholder() -> None:
    finding = Finding(
        rule="odd-[x](y)",
        severity="warning",
        file="",
        sentence="'[click](https://e.org)' and {0}.",
        remedy="",
    )
    run = json.loads(files.sarif(Manifest(source="x", findings=(finding,))))["runs"][0]
    assert run["results"][0]["message"]["text"] == r"'\[click\](https://e.org)' and {{0}}."
    assert run["tool"]["driver"]["rules"][-1]["shortDescription"]["text"] == r"Static rule odd-\[x\](y)."


def test_junit(model: Path) -> None:
    set_keys(model / "model_index.json", unet=["os", "mkdir"])
    (model / "x.py").write_text("")
    (suite,) = ElementTree.fromstring(files.junit(check(model)))
    assert int(suite.attrib["tests"]) == len(suite) == len(check(model).findings)
    assert suite.attrib["errors"] == "1"
    assert suite.attrib["failures"] == "1"
    assert suite.find("testcase[@name='unknown-library [model_index.json]']/error") is not None
    assert suite.find("testcase[@name='unused-code [x.py]']/failure") is not None


def test_csv_has_a_line_per_finding_and_no_formula(model: Path) -> None:
    (model / "x.py").write_text("")
    header, *lines = csv.reader(files.comma_separated(check(model)).splitlines())
    assert header == ["source", "severity", "rule", "file", "sentence", "remedy"]
    assert [line[1:4] for line in lines] == [["warning", "unused-code", "x.py"]]
    formula = Finding(
        rule="odd-name", severity="warning", file="=cmd|' /C calc'!A0", sentence='+1 "a", b', remedy=""
    )
    (line,) = list(
        csv.reader(files.comma_separated(Manifest(source="@x", findings=(formula,))).splitlines())
    )[1:]
    assert [c for c in line if c[:1] in set("=+-@")] == []
    assert line[4] == '\'+1 "a", b'


def test_human(model: Path) -> None:
    clean = files.human(check(model))
    assert "nothing found by these tests" in clean
    assert "not tested" in clean
    assert "safe" not in clean.replace("safetensors", "")
    (model / UNET).unlink()
    assert "refused" in files.human(check(model))


def test_json_round_trips(model: Path) -> None:
    manifest = check(model)
    written = files.as_json(manifest)
    assert jsonview.parse(written).manifest == manifest
    assert json.loads(written)["exit_code"] == 0
    assert json.loads(written)["tool"]["version"]


@pytest.mark.parametrize(("fail_on", "code"), [("warning", 1), ("error", 0), ("found", 0)])
def test_a_warning_counts_as_the_policy_says(model: Path, fail_on: FailOn, code: int) -> None:
    (model / "x.py").write_text("")
    manifest = check(model)
    assert exits.of_files(manifest, fail_on) == code
    assert json.loads(files.as_json(manifest, fail_on))["exit_code"] == code
    assert json.loads(files.sarif(manifest, fail_on))["runs"][0]["invocations"][0]["exitCode"] == code


def test_check_and_report_give_a_finding_one_fingerprint_and_one_level(model: Path) -> None:
    (model / "x.py").write_text("")
    alone = files.of(check(model))
    scanned = alone.model_copy(update={"scope": "model", "verdict": Verdict(word="suspicious")})
    (mine,) = json.loads(sarif.render(alone))["runs"][0]["results"]
    theirs = json.loads(sarif.render(scanned))["runs"][0]["results"][0]
    assert {k: mine[k] for k in ("ruleId", "level", "partialFingerprints")} == {
        k: theirs[k] for k in ("ruleId", "level", "partialFingerprints")
    }
