"""What a run decides is decided once and kept: the seed is drawn and recorded, and no verb measures otherwise
than the one before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import Field
from typer.testing import CliRunner

from nightlatch import plan, runs
from nightlatch.cli import app
from nightlatch.errors import UsageError
from nightlatch.folder import write_whole
from nightlatch.plan import Options, Plan
from nightlatch.records import Record
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling
from nightlatch.text2image.scan import Judge, Question, TrustedBase

CALL = CliRunner()


class Settings(Record):
    """Of a small family."""

    prompts: str | tuple[str, ...] = "general"
    steps: int = Field(default=10, ge=2, le=1000)
    guidance: float = Field(default=4.0, ge=1.0)
    precision: Literal["fp32", "bf16"] = "fp32"


class Small:
    """A family whose prompts may be in a file."""

    name = "small"
    Settings: type[Record] = Settings

    def settings(self, given: Mapping[str, Any]) -> Record:
        named = given.get("prompts")
        read = (
            {"prompts": tuple(Path(named).read_text().split())}
            if isinstance(named, str) and named != "general"
            else {}
        )
        return plan.valid(Settings, {**given, **read})


class Other(Small):
    name = "other"


def settle(run: runs.Run, seed: int | None = None, anew: bool = False, **given: Any) -> Plan:
    return plan.settle(run, Small(), Options(settings=given, seed=seed), anew)


def test_a_path_in_a_strangers_folder_is_not_opened(tmp_path: Path) -> None:
    """Only what the user types is taken for the name of a file; then the plan holds what the file says."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mine").write_text("one two")
    with runs.Run(tmp_path / "run") as run:
        recorded = {"family": "small", "seed": 1, "settings": {"prompts": str(tmp_path / "pipe")}}
        run.note(plan.KEY, recorded)
        assert settle(run).of(Settings).prompts == str(tmp_path / "pipe")
        assert settle(run, steps=8).of(Settings).steps == 8
        assert settle(run, prompts=str(tmp_path / "mine")).of(Settings).prompts == ("one", "two")
    with runs.Run(tmp_path / "run") as run:
        assert settle(run).of(Settings).prompts == ("one", "two")


def test_later_verbs_decide_as_the_first_one_did(tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        first = settle(run, prompts=("one", "two"), steps=8)
        assert first.of(Settings).guidance == 4.0
    with runs.Run(tmp_path) as run:
        assert settle(run) == first
        assert settle(run, guidance=1.0).of(Settings) == Settings(
            prompts=("one", "two"), steps=8, guidance=1.0
        )


def test_results_made_otherwise_are_not_mixed_in(tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        settle(run, seed=5, steps=8)
        write_whole(tmp_path / "verdict.json", "{}")
        with pytest.raises(UsageError, match="made with --steps 8"):
            settle(run, steps=9)
        with pytest.raises(UsageError, match="other --prompts") as refused:
            settle(run, prompts=("a", "b")) if settle(run, anew=True, prompts=("c",)) else None
        assert "--prompts" in refused.value.remedy
        with pytest.raises(UsageError, match="another kind of model"):
            plan.settle(run, Other(), Options(settings={}))
        assert settle(run, steps=9, anew=True).of(Settings).steps == 9
        assert settle(run, anew=True).of(Settings) == Settings()


def test_the_seed_is_drawn_once_and_kept(tmp_path: Path) -> None:
    with runs.Run(tmp_path / "a") as run:
        drawn = settle(run).seed
        assert settle(run).seed == drawn
    with runs.Run(tmp_path / "a") as run:
        assert settle(run).seed == drawn == plan.of(run)["seed"]
        assert settle(run, seed=7).seed == 7
        assert settle(run).seed == 7
        assert len(run.manifest()["resumed"]) == 1
    with runs.Run(tmp_path / "b") as run:
        assert settle(run).seed != drawn


def test_results_of_another_seed_are_not_mixed_in(tmp_path: Path) -> None:
    """Other prompts would be held out than those that the repair has not seen."""
    with runs.Run(tmp_path) as run:
        settle(run, seed=5)
        write_whole(tmp_path / "repair.json", "{}")
        with pytest.raises(UsageError, match="seed 5"):
            settle(run, seed=6)
        assert settle(run, seed=5) == settle(run)


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 1), ("guidance", 0.5), ("precision", "fp8"), ("stebs", 3)]
)
def test_what_is_out_of_range_is_named(name: str, value: str | float, tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run, pytest.raises(UsageError, match=f"--{name}"):
        settle(run, **{name: value})


@pytest.mark.parametrize(
    "recorded",
    [
        [],
        "emoji",
        {"family": "small", "seed": -1, "settings": {}},
        {"family": "small", "seed": "7", "settings": {}},
        {"family": "small", "seed": True, "settings": {}},
        {"family": 1, "seed": 0, "settings": {}},
        {"family": "small", "seed": 0, "settings": {"steps": "many"}},
        {"family": "small", "seed": 0, "settings": {"prompt": "emoji"}},
    ],
)
def test_an_unusable_record_is_one_sentence(recorded: object, tmp_path: Path) -> None:
    with runs.Run(tmp_path) as run:
        write_whole(tmp_path / runs.MANIFEST, json.dumps({**run.manifest(), plan.KEY: recorded}))
        with pytest.raises(UsageError, match="no usable settings"):
            settle(run)
        assert settle(run, seed=3, anew=True).seed == 3


def test_no_noise_of_the_scan_is_fixed(tiny_v, texts) -> None:
    shown: list[list[torch.Tensor]] = []
    for seed in (0, 1):
        seen: list[torch.Tensor] = []
        subject, base = tiny_v.copied(Role.TEXT), TrustedBase(base=tiny_v.copied(Role.DENOISER))
        (denoiser,) = subject.modules(Role.DENOISER)
        hook = denoiser.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0][0].clone()))
        asked = Question(suspect=subject, reference=base, texts=texts, sampling=Sampling(steps=3), seed=seed)
        assert asked.displacement.passes
        Judge().influence.on(asked, texts[:4])
        hook.remove()
        shown.append(seen)
    first, second = ({x.numpy().tobytes() for x in seen} for seen in shown)
    assert first and not first & second


def test_scan_draws_its_seed_and_tells_it(tiny_folder: Path, tmp_path: Path) -> None:
    common = ["--prompts", "emoji", "--steps", "2", "--guidance", "1"]
    told = []
    for name in ("a", "b"):
        run = tmp_path / name
        done = CALL.invoke(
            app, ["scan", str(tiny_folder), "--base", str(tiny_folder), "--run", str(run), *common]
        )
        assert done.exit_code == 0, done.output
        seed = json.loads((run / "run.json").read_text())["plan"]["seed"]
        report = json.loads((run / "report.json").read_text())
        assert seed == report["environment"]["seed"] == report["verdict"]["seed"]
        assert str(seed) in (run / "report.html").read_text()
        told.append(seed)
    assert told[0] != told[1]


def test_a_folder_of_an_earlier_version_is_refused_until_it_is_scanned_anew(tmp_path):
    with runs.Run(tmp_path / "run") as run:
        run.note("drawing", {"prompts": str(tmp_path / "pipe")})
        with pytest.raises(UsageError, match="earlier version"):
            plan.of(run)
        assert not plan.usable(run)
