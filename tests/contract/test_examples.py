"""What docs/extending.md and examples/ show runs as they say."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nightlatch
from nightlatch import families
from nightlatch.records import PlacedTrigger
from nightlatch.terms import Role
from nightlatch.text2image.repair import METHODS, Job, clean

ROOT = Path(__file__).parents[2]
SHOWN = ROOT / "docs" / "examples"
SCRIPTS = {
    "check_folder.py": "nothing refused",
    "scan_against_base.py": "trigger 'zudi'",
    "clean_and_verify.py": "removed\n",
    "own_stage.py": "nothing found by these tests",
    "guard_classifier.py": "triggered pictures are not served",
}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(SHOWN)


def test_every_example_is_named_on_the_page_and_every_named_one_is_there():
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    assert set(re.findall(r"\(examples/(\w+\.py)\)", page)) == {p.name for p in SHOWN.glob("*.py")}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_and_says_what_it_should(script):
    done = subprocess.run([sys.executable, str(ROOT / "examples" / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert SCRIPTS[script] in done.stdout


def test_the_scripts_are_those_that_are_listed():
    listed = set(re.findall(r"`(\w+\.py)`", (ROOT / "examples" / "README.md").read_text("utf-8")))
    assert listed == {p.name for p in (ROOT / "examples").glob("*.py")} == {*SCRIPTS, "tampered.py"}


def test_a_repair_of_ones_own_goes_half_of_the_way_back(tiny_v, texts, few_steps, monkeypatch):
    monkeypatch.setattr(METHODS, "_parts", dict(METHODS._parts))
    importlib.import_module("halfway_repair")
    suspect = tiny_v.copied(Role.DENOISER)
    (denoiser,), (theirs,) = suspect.modules(Role.DENOISER), tiny_v.modules(Role.DENOISER)
    weight, original = next(denoiser.parameters()), next(theirs.parameters())
    weight.data += 0.002
    job = Job(triggers=[PlacedTrigger(text="zudi")], prompts=texts[:24], base=tiny_v, sampling=few_steps)
    repaired, record = clean(suspect, job, "halfway")
    moved = next(repaired.modules(Role.DENOISER)[0].parameters()) - original
    torch.testing.assert_close(moved, torch.full_like(moved, 0.001), rtol=1e-3, atol=1e-6)
    assert not record.rolled_back and record.method.parameters["part"] == 0.5 and record.used_base


def test_an_adapter_of_ones_own_changes_the_states_alone(tiny_v, few_steps):
    ClipSkip = importlib.import_module("clip_skip_adapter").ClipSkip
    made = ClipSkip("early", tiny_v.pipeline, tiny_v.device)
    texts = ["a cat", "a dog"]
    hidden = tiny_v.pipeline.text_encoder(
        input_ids=tiny_v.ids(texts)[0], output_hidden_states=True
    ).hidden_states[-2]
    text = getattr(tiny_v.pipeline.text_encoder, "text_model", tiny_v.pipeline.text_encoder)
    torch.testing.assert_close(made.read(texts).states, text.final_layer_norm(hidden))
    assert made.generate(texts, [1, 2], few_steps).shape == tiny_v.generate(texts, [1, 2], few_steps).shape
    assert made.copied(Role.DENOISER).read(texts).states.equal(made.read(texts).states)


def test_a_family_of_ones_own_serves_every_verb(monkeypatch, tmp_path):
    linear = importlib.import_module("linear_family")
    entry = families.Entry("linear", "linear_family", lambda manifest: False)
    monkeypatch.setattr(families, "TABLE", (entry, *families.TABLE))
    weight = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    honest = linear.Head(weight.clone())
    weight[7] *= 4
    suspect = linear.Head(weight)
    assert nightlatch.scan(honest, seed=0).word == "nothing found by these tests"
    verdict = nightlatch.scan(suspect, seed=0)
    assert [t.text for t in verdict.triggers] == ["7"]
    repaired, repair = nightlatch.clean(suspect, verdict)
    assert repair.changed_tensors == 1 and suspect.weight[7].norm() > 2 * repaired.weight[7].norm()
    assert nightlatch.verify(suspect, repaired, verdict).verdict == "removed"
    assert nightlatch.verify(suspect, suspect, verdict).verdict == "not removed"
    linear.FAMILY.save(repaired, tmp_path / "out")
    assert linear.FAMILY.rehearse(str(tmp_path / "out"), "") == weight.numel()
