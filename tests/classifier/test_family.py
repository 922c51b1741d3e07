"""The family behind the verbs: a backdoored classifier and clean pictures go in, a verdict, a pruned model and
a scorecard come out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from nightlatch import families
from nightlatch.classifier.attacks.base import success
from nightlatch.classifier.family import FAMILY, Settings, clean_pictures, difference, renumbered
from nightlatch.classifier.loading import open_model, save_model
from nightlatch.classifier.verify import judge
from nightlatch.cli import app
from nightlatch.errors import UsageError
from nightlatch.plan import Plan
from nightlatch.records import Manifest, Pair, Rate, Repair, Scorecard, Verdict
from nightlatch.runs import Run
from nightlatch.terms import PairKind

from .conftest import CLASSES, pictures


def call(*words: object) -> object:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def files(planted, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("family")
    save_model(planted.subject, root / "model")
    held = pictures(800, 9)
    for k, picture in enumerate(held.pictures):
        folder = root / "clean" / CLASSES[int(held.labels[k])]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{k:04d}.png")
    return {"model": root / "model", "clean": root / "clean", "root": root}


def test_a_model_s_class_chooses_the_family():
    for cls, name in (
        ("ResNetForImageClassification", "classifier"), ("ViTForImageClassification", "classifier"),
        ("SmallResNet", "classifier"), ("CLIPModel", "contrastive"), ("StableDiffusionPipeline", "text2image"),
    ):  # fmt: skip
        assert families.of(Manifest(source="x", pipeline_class=cls)).name == name
    assert {"detectors", "scanners", "picture-attacks"} <= families.registries().keys()


def test_a_backdoor_is_found_unlearnt_and_proven_gone(files, planted, test):
    run, out = files["root"] / "run", files["root"] / "repaired"
    done = call("scan", files["model"], "--data", files["clean"], "--run", run, "--seed", 3)
    assert done.exit_code == 1, done.output
    with Run(run, write=False) as folder:
        verdict = folder.read("verdict", Verdict)
        assert verdict.word == "suspicious"
        assert {p.target for p in verdict.pictures} == {"left"}
        assert verdict.pictures[0].flips.rate >= 0.8
        assert folder.read_picture("images/00-triggered.png")
    page = (run / "report.html").read_text()
    assert "Trigger in pictures" in page
    assert "prompt" not in page.split("Trigger in pictures")[1].split("</dl>")[0]
    before = open_model(files["model"]).fingerprint
    done = call("clean", files["model"], "-o", out, "--data", files["clean"], "--run", run)
    assert done.exit_code == 0, done.output
    assert open_model(files["model"]).fingerprint == before
    repaired = open_model(out)
    held = test.at(test.labels != 0)
    assert success(planted.subject, planted.apply, held, 0).rate >= 0.9
    assert success(repaired, planted.apply, held, 0).rate <= 0.3
    done = call("verify", out, "--against", files["model"], "--data", files["clean"], "--run", run)
    with Run(run, write=False) as folder:
        card = folder.read("scorecard", Scorecard)
        assert folder.read("repair", Repair).method.name == "unlearn"
    kinds = {p.kind: p for p in card.pairs}
    assert kinds[PairKind.SUCCESS].before.rate >= 0.8 > 0.3 >= kinds[PairKind.SUCCESS].after.rate
    assert kinds[PairKind.UTILITY].after.rate >= kinds[PairKind.UTILITY].before.rate - 0.05
    assert done.exit_code == {"removed": 0, "not verified": 2}.get(card.verdict, 1), done.output


def test_what_is_missing_is_asked_for(files, tmp_path):
    done = call("scan", files["model"], "--run", tmp_path / "run")
    assert done.exit_code == 2
    assert "--data" in done.output
    done = call(
        "clean", files["model"], "-o", tmp_path / "o", "--data", files["clean"], "--run", tmp_path / "other"
    )
    assert done.exit_code == 2
    assert "--trigger" in done.output
    done = call("clean", files["model"], "-o", tmp_path / "o", "--data", files["clean"], "--run", tmp_path / "third",
                "--trigger", "nowhere")  # fmt: skip
    assert done.exit_code == 2
    assert "no class 'nowhere'" in done.output
    assert not (tmp_path / "o").exists()


def test_scan_and_proof_share_no_picture_and_labels_go_by_name(files, planted, tmp_path):
    plan = Plan(family="classifier", settings=Settings(), seed=1, inputs={"data": files["clean"]})
    seen, unseen = clean_pictures(planted.subject, plan, lambda line: None)
    keys = [{p.numpy().tobytes() for p in part.pictures} for part in (seen, unseen)]
    assert len(seen) + len(unseen) == 800
    assert not keys[0] & keys[1]
    whole = {
        p.numpy().tobytes(): int(y)
        for p, y in zip(pictures(800, 9).pictures, pictures(800, 9).labels, strict=True)
    }
    assert all(whole[p.numpy().tobytes()] == int(y) for p, y in zip(seen.pictures, seen.labels, strict=True))
    swapped = pictures(20, 2)
    assert torch.equal(renumbered(swapped, CLASSES[::-1]), 2 - swapped.labels)
    with pytest.raises(UsageError, match="--data"):
        clean_pictures(
            planted.subject, Plan(family="classifier", settings=Settings(), seed=1), lambda line: None
        )


def test_difference_counts_what_was_changed(planted):
    other = planted.subject.copy()
    assert difference(planted.subject, other) == (0, 0.0)
    with torch.no_grad():
        other.module.classifier.weight[0, :2] += 1
    tensors, share = difference(planted.subject, other)
    total = sum(v.numel() for v in other.module.state_dict().values())
    assert (tensors, share) == (1, pytest.approx(2 / total))


def test_judge_says_what_the_bars_say():
    def row(kind: PairKind, before: int, passed: bool) -> Pair:
        return Pair(kind=kind, name="x", before=Rate.of(before, 100), after=Rate.of(0, 100), passed=passed)

    good = [
        row(PairKind.SUCCESS, 99, True),
        row(PairKind.REGROWTH, 99, True),
        row(PairKind.UTILITY, 90, True),
    ]
    assert judge(good) == "removed"
    assert judge([row(PairKind.SUCCESS, 20, True), *good[1:]]) == "not verified"
    assert judge([good[0], row(PairKind.REGROWTH, 99, False), good[2]]) == "not removed"
    assert judge([*good[:2], row(PairKind.UTILITY, 90, False)]) == "harmed"
    assert FAMILY.name == "classifier"
    assert json.loads(FAMILY.settings({"steps": 5}).model_dump_json())["steps"] == 5
