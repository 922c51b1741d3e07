"""A folder that loaders make another model of than the one that is staged is never cleared."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from intake_fixtures import pack
from typer.testing import CliRunner

from nightlatch import loading, verbs
from nightlatch.cli import app
from nightlatch.errors import NotScanned
from nightlatch.exits import of_report
from nightlatch.intake import Departs, check, require_alone, stage
from nightlatch.intake.findings import Findings
from nightlatch.plan import Options
from nightlatch.records import Environment, Finding, Manifest, Report, Verdict
from nightlatch.report import jsonview, sarif
from nightlatch.report.words import headline
from nightlatch.runs import Run

ADAPTER = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
LAYER = {"base_model.model.x.lora_A.weight": ["F32", [2, 4], bytes(32)]}


def hide(model: Path, folder: str = "text_encoder") -> None:
    """An adapter as peft saves one, in ``folder``."""
    (model / folder).mkdir(exist_ok=True)
    (model / folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (model / folder / "adapter_model.safetensors").write_bytes(pack(LAYER))


@pytest.mark.parametrize("folder", ["text_encoder", "unet", "safety_checker", "."])
def test_an_adapter_where_loaders_apply_it(model: Path, folder: str) -> None:
    hide(model, folder)
    manifest = check(model)
    with pytest.raises(Departs, match="without asking") as refused:
        require_alone(manifest)
    assert isinstance(refused.value, NotScanned)
    assert f"'{PurePosixPath(folder) / 'adapter_config.json'}'" in refused.value.sentence
    assert "Delete it" in refused.value.remedy


def test_a_linked_adapter(model: Path) -> None:
    hide(model, "elsewhere")
    (model / "text_encoder/adapter_config.json").symlink_to("../elsewhere/adapter_config.json")
    with pytest.raises(Departs, match="text_encoder"):
        require_alone(check(model))


def test_two_sets_of_weights(model: Path) -> None:
    index = {"weight_map": {"conv_in.weight": "other.safetensors"}}
    (model / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Departs, match="two sets of weights"):
        require_alone(check(model))


def test_adapters_that_were_only_counted(model: Path) -> None:
    findings = Findings()
    for i in range(60):
        findings.add("hidden-adapter", f"a{i}/adapter_config.json")
    with pytest.raises(Departs):
        require_alone(Manifest(source="x", findings=findings.result()))


def test_what_no_loader_applies(model: Path) -> None:
    require_alone(check(model))
    hide(model, "lora")
    require_alone(check(model))


def test_it_is_refused_before_anything_is_loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(model)
    monkeypatch.setattr("nightlatch.intake.guarded", lambda *a, **k: pytest.fail("loaded"))
    with stage(model), pytest.raises(Departs):
        loading.model(model, Options(settings={}))


def test_scan_writes_down_why_it_was_not_scanned(model: Path, tmp_path: Path) -> None:
    hide(model)
    said: list[str] = []
    with Run(tmp_path / "run") as run:
        verdict = verbs.scan(run, model, model, Options(settings={}), said.append)
        made = verbs.report(run)
    assert verdict.word == made.verdict.word == "not scanned"  # type: ignore[union-attr]
    assert "adapter" in verdict.skipped[0] and "adapter" in said[0]
    assert of_report(made) == 2
    assert headline(made).status == "unknown"
    assert "Do not load it" in headline(made).action
    assert "hidden-adapter" in {f.rule for f in made.manifest.findings}  # type: ignore[union-attr]
    assert of_report(jsonview.parse((tmp_path / "run" / "report.json").read_text())) == 2


def test_the_command_ends_as_its_report_says(model: Path, tmp_path: Path) -> None:
    hide(model)
    done = CliRunner().invoke(app, ["scan", str(model), "--base", str(model), "--run", str(tmp_path / "run")])
    assert done.exit_code == 2, done.output
    assert "verdict: not scanned" in done.output
    assert "Traceback" not in done.output
    (run,) = json.loads((tmp_path / "run" / "report.sarif").read_text())["runs"]
    assert run["invocations"][0]["exitCode"] == 2


def reported(word: str, *findings: Finding) -> Report:
    environment = Environment(command="", versions={}, device="cpu", dtype="float32", started="")
    verdict: Any = Verdict(word=word)  # type: ignore[arg-type]
    return Report(
        source="x", environment=environment, manifest=Manifest(source="x", findings=findings), verdict=verdict
    )


def finding(rule: str, severity: Any = "warning") -> Finding:
    return Finding(rule=rule, severity=severity, file="", sentence="It is odd.")


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (reported("nothing found by these tests"), 0),
        (reported("nothing found by these tests", finding("not-staged", "note")), 0),
        (reported("nothing found by these tests", finding("second-variant")), 1),
        (reported("nothing found by these tests", finding("index", "error")), 2),
        (reported("suspicious"), 1),
        (reported("backdoor found", finding("second-variant")), 1),
        (reported("not scanned", finding("second-variant")), 2),
    ],
)
def test_all_views_end_with_one_code(report: Report, code: int) -> None:
    assert of_report(report) == code
    assert json.loads(sarif.render(report))["runs"][0]["invocations"][0]["exitCode"] == code


@pytest.mark.parametrize("rule", ["second-variant", "extra-weights", "link-inside", "unused-pickle"])
def test_a_model_that_loaders_may_read_otherwise_is_not_recommended(rule: str) -> None:
    action = headline(reported("nothing found by these tests", finding(rule))).action
    assert "may be loaded" not in action
    assert "Read the 1 static warning first." in action


def test_other_warnings_are_to_be_read_first() -> None:
    action = headline(reported("nothing found by these tests", finding("unused-code"))).action
    assert action == "Read the 1 static warning first. It may be loaded, within the limits below."


def test_a_lora_in_pefts_form_says_what_to_do(
    built: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """peft keeps the scales in a second file."""
    monkeypatch.setattr("nightlatch.intake.guarded", lambda *a, **k: pytest.fail("loaded"))
    assert any("save_lora_weights" in f.sentence for f in check(built / "peft").findings if f.rule == "lora")
    with pytest.raises(NotScanned, match="peft saves it") as refused:
        loading.model(built / "peft", Options(settings={}), model)
    assert "save_lora_weights" in refused.value.remedy
    assert refused.value.exit_code == 2
