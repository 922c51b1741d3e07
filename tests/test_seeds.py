"""The seed of a run is drawn, recorded and kept, and decides every noise that a scan shows a model: none can know it is scanned (input 67)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from nightlatch import runs, seeds
from nightlatch.cli import app
from nightlatch.errors import UsageError
from nightlatch.text2image.prompts import slot_words
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.influence import Influence

CALL = CliRunner()


def test_drawn_once_and_kept(tmp_path: Path) -> None:
    with runs.Run(tmp_path / "a") as run:
        drawn = seeds.settle(run)
        assert seeds.settle(run) == drawn
    with runs.Run(tmp_path / "a") as run:
        assert seeds.settle(run) == drawn == run.manifest()["seed"]
        assert seeds.settle(run, 7) == 7
        assert seeds.settle(run) == 7
        assert len(run.manifest()["resumed"]) == 1
    with runs.Run(tmp_path / "b") as run:
        assert seeds.settle(run) != drawn


def test_results_of_another_seed_are_not_mixed_in(tmp_path: Path) -> None:
    """Other prompts would be held out than those that the repair has not seen."""
    with runs.Run(tmp_path) as run:
        seeds.settle(run, 5)
        runs.write_whole(tmp_path / "repair.json", "{}")
        with pytest.raises(UsageError, match="seed 5"):
            seeds.settle(run, 6)
        assert seeds.settle(run, 5) == seeds.settle(run) == 5


def test_older_run_goes_on_with_the_seed_of_its_verdict(tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        runs.write_whole(tmp_path / "verdict.json", json.dumps({"word": "suspicious", "seed": 0}))
        assert seeds.settle(run) == 0


@pytest.mark.parametrize("recorded", [-1, 2**31, "7", True, 1.5])
def test_no_seed_is_one_sentence(recorded: object, tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        runs.write_whole(tmp_path / runs.MANIFEST, json.dumps({**run.manifest(), "seed": recorded}))
        with pytest.raises(UsageError, match="no usable seed"):
            seeds.settle(run)
        assert seeds.settle(run, 3) == 3


def test_no_noise_of_the_scan_is_fixed(tiny_v, texts) -> None:
    shown: list[list[torch.Tensor]] = []
    for seed in (0, 1):
        seen: list[torch.Tensor] = []
        subject = tiny_v.copy("text_encoder")
        hook = subject.unet.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0][0].clone()))
        Gauge(subject, tiny_v.copy("unet"), texts[:2], ("text_encoder",), seed=seed)
        Influence(subject, tiny_v.copy("unet"), texts[:4], slot_words(texts), seed)
        hook.remove()
        shown.append(seen)
    first, second = ({x.numpy().tobytes() for x in seen} for seen in shown)
    assert first and not first & second


def test_scan_draws_its_seed_and_tells_it(tiny_folder: Path, tmp_path: Path) -> None:
    common = ["--prompts", "emoji", "--steps", "2", "--guidance", "1"]
    told = []
    for name in ("a", "b"):
        run = tmp_path / name
        done = CALL.invoke(app, ["scan", str(tiny_folder), "--base", str(tiny_folder), "--run", str(run), *common])
        assert done.exit_code == 0, done.output
        seed = json.loads((run / "run.json").read_text())["seed"]
        report = json.loads((run / "report.json").read_text())
        assert seed == report["environment"]["seed"] == report["verdict"]["seed"]
        assert str(seed) in (run / "report.html").read_text()
        told.append(seed)
    assert told[0] != told[1]
