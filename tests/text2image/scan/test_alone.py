"""A scan without anything to hold the suspect against."""

from __future__ import annotations

import json
import math

import pytest
from typer.testing import CliRunner

from nightlatch.cli import app
from nightlatch.terms import Role
from nightlatch.text2image.scan import alone


def test_an_edit_shows_without_a_base_and_names_its_trigger(sunflower):
    verdict = alone(sunflower, say=lambda _: None)
    assert verdict.word == "suspicious"
    assert [t.text for t in verdict.triggers] == ["cancer"]
    assert verdict.triggers[0].rivals == ("sunflower",)
    assert verdict.triggers[0].changed is None, "no picture has confirmed it"
    assert [c.role for c in verdict.carriers] == [Role.DENOISER]
    assert {c.text for c in verdict.top_candidates[:2]} == {"cancer", "sunflower"}
    assert "'sunflower'" in verdict.tested[0]
    assert "cancer" in verdict.tested[0]
    assert verdict.not_tested


def test_an_honest_model_is_not_accused_and_not_cleared(shipped):
    said: list[str] = []
    verdict = alone(shipped, say=said.append)
    assert verdict.word == "not scanned"
    assert verdict.triggers == ()
    assert "--base" in verdict.skipped[0]
    assert any("--base" in line for line in said)


def test_numbers_that_are_not_finite_are_a_sentence(tiny_v):
    broken = tiny_v.copied(Role.DENOISER)
    next(iter(broken.sites.readers().values())).data[0, 0] = math.nan
    verdict = alone(broken, say=lambda _: None)
    assert verdict.word == "not scanned"
    assert "not finite" in verdict.skipped[0]


@pytest.mark.parametrize("given", [["--plan", "assembled"], ["--skip", "behind"]])
def test_stages_without_a_base_are_refused(tiny_folder, tmp_path, given):
    done = CliRunner().invoke(app, ["scan", str(tiny_folder), "--run", str(tmp_path / "run"), *given])
    assert done.exit_code == 2
    assert "--base" in done.output


def test_what_is_found_without_a_base_is_cleaned_without_one(sunflower, tmp_path):
    """The verbs one after the other, as typed."""
    sunflower.save(tmp_path / "suspect")
    suspect, run, out = (str(tmp_path / n) for n in ("suspect", "run", "out"))
    scanned = CliRunner().invoke(app, ["scan", suspect, "--run", run, "--steps", "2"])
    assert scanned.exit_code == 1, scanned.output
    cleaned = CliRunner().invoke(app, ["clean", suspect, "-o", out, "--run", run, "--rounds", "1"])
    assert cleaned.exit_code == 0, cleaned.output
    repair = json.loads((tmp_path / "run" / "repair.json").read_text())
    assert [c["method"] for c in repair["choices"]] == ["twin-removal"]
    again = CliRunner().invoke(app, ["scan", out, "--run", str(tmp_path / "again")])
    assert again.exit_code == 2, again.output
