"""The family behind the verbs: a poisoned model and its pairs go in, a ranking, a clean model and a
scorecard come out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from nightlatch import families, verbs
from nightlatch.cli import app
from nightlatch.contrastive import adapters
from nightlatch.contrastive.clean import METHODS, UnlearnShortcut
from nightlatch.contrastive.family import FAMILY
from nightlatch.contrastive.inputs import Inputs, named
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.verify import judge
from nightlatch.errors import UsageError
from nightlatch.plan import Options
from nightlatch.records import Manifest, Pair, Rate, Repair, Scorecard
from nightlatch.runs import Run
from nightlatch.terms import PairKind

from .conftest import pairs


def write(root: Path, held: Pairs) -> Path:
    """Pairs as a folder with a csv table."""
    root.mkdir()
    rows = [("image", "caption")]
    for i, caption in enumerate(held.captions):
        Image.fromarray(held.images[i].permute(1, 2, 0).numpy()).save(root / f"{i:04}.png")
        rows.append((f"{i:04}.png", caption))
    with (root / "pairs.csv").open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return root


@pytest.fixture(scope="module")
def files(planted, tmp_path_factory) -> dict[str, Path]:
    """A poisoned model, the pairs that poisoned it, trusted pairs, and the list of what is poisoned."""
    root = tmp_path_factory.mktemp("family")
    planted.subject.save(root / "model")
    listed = root / "poison.txt"
    listed.write_text("\n".join(f"{i:04}.png" for i in planted.poison.nonzero()[0]))
    return {
        "model": root / "model",
        "pairs": write(root / "pairs", planted.pairs),
        "trusted": write(root / "trusted", pairs(800, 61)),
        "poison": listed,
        "root": root,
    }


def test_a_model_of_either_class_is_of_this_family():
    for cls, name in (
        ("CLIPModel", "contrastive"),
        ("SiglipModel", "contrastive"),
        ("StableDiffusionPipeline", "text2image"),
    ):
        assert families.of(Manifest(source="x", pipeline_class=cls)).name == name
    assert isinstance(FAMILY, families.Ranks)
    assert {"pair-attacks", "finders", "cleaners"} <= families.registries().keys()


def test_data_scan_ranks_the_poison_first(files, planted, tmp_path):
    out = tmp_path / "ranking.jsonl"
    done = CliRunner().invoke(
        app,
        ["data", "scan", str(files["pairs"]), "--model", str(files["model"]), "-o", str(out), "--top", "40"],
    )
    assert done.exit_code == 0, done.output
    ranked = [json.loads(line)["name"] for line in out.read_text().splitlines()]
    truth = {f"{i:04}.png" for i in planted.poison.nonzero()[0]}
    assert len(ranked) == 40 and len(truth.intersection(ranked)) >= 20
    again = CliRunner().invoke(
        app, ["data", "scan", str(files["pairs"]), "--model", str(files["model"]), "-o", str(out)]
    )
    assert again.exit_code == 2 and "there already" in again.output


@pytest.fixture
def quick() -> Iterator[str]:
    """A cleaner for models as small as these, registered while a test runs."""

    @METHODS.register("quick")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Quick(UnlearnShortcut):
        """The usual cleaner in few, large steps."""

        steps: int = 70
        batch: int = 64
        rate: float = 1e-3
        rounds: int = 2
        search: int = 4

    yield "quick"
    METHODS._parts.pop("quick")


def test_clean_and_verify_over_a_run_folder(files, tmp_path, quick):
    given = {k: files[k] for k in ("trusted", "pairs", "poison")}
    with Run(tmp_path / "run") as run:
        options = Options(settings={}, seed=1)
        repair = verbs.clean(
            run, files["model"], tmp_path / "clean", options, print, method=quick, inputs=given
        )
        assert isinstance(repair, Repair) and not repair.rolled_back and repair.output
        adapters.load(tmp_path / "clean")
        card = verbs.verify(
            run,
            files["model"],
            tmp_path / "clean",
            Options(settings={}),
            print,
            inputs=given,
            regrowth_steps=5,
        )
        assert isinstance(card, Scorecard)
        success = next(p for p in card.pairs if p.kind is PairKind.SUCCESS)
        assert success.before.rate > 0.7 > success.after.rate
        assert {p.kind for p in card.pairs} >= {PairKind.CONTROL, PairKind.UTILITY, PairKind.REGROWTH}
        verbs.report(run)
        assert (run.path / "report.html").is_file()


def test_scan_and_report_over_a_run_folder(files, tmp_path):
    few = Options(settings={"steps": 6, "pictures": 16, "words": 12}, seed=0)
    with Run(tmp_path / "run") as run:
        verdict = verbs.scan(run, files["model"], files["model"], few, print)
        assert verdict.word == "nothing found by these tests" and verdict.base
        assert len(verdict.top_candidates) == 12 and len(verdict.tested) == 3
        assert {p.part.name for p in verdict.parts} == {"smallest-collapsing-patch", "word-sweep"}
        verbs.report(run)
        assert "smallest patch" in (run.path / "report.html").read_text()
    with Run(tmp_path / "alone") as run:
        alone = verbs.scan(run, files["model"], None, few, print)
        assert alone.word == "nothing found by these tests" and not alone.base
        assert any("none was given" in line for line in alone.not_tested)
    checked = CliRunner().invoke(app, ["check", str(files["model"])])
    assert checked.exit_code == 0, checked.output


def test_halves_share_nothing(files, planted):
    read = Inputs.read({k: files[k] for k in ("trusted", "pairs", "poison")}, planted.subject, 0)
    mine, theirs = read.halves(3)
    for a, b in ((mine.trusted, theirs.trusted), (mine.poison, theirs.poison)):
        assert not set(a.names) & set(b.names) and len(a) + len(b) in (800, 40)


def test_a_list_without_its_pairs_and_one_of_nothing_are_refused(files, planted, tmp_path):
    with pytest.raises(UsageError, match="set that is not given"):
        Inputs.read({"trusted": files["trusted"], "poison": files["poison"]}, planted.subject, 0)
    with pytest.raises(UsageError, match="--trusted"):
        Inputs.read({}, planted.subject, 0)
    (tmp_path / "list").write_text("nothing.png\n")
    with pytest.raises(UsageError, match="names 0 of"):
        named(planted.pairs, tmp_path / "list")


def test_the_verdict_follows_the_bars():
    def pair(kind, before, after, passed):
        return Pair(
            kind=kind, name="x", before=Rate.of(before, 100), after=Rate.of(after, 100), passed=passed
        )

    worked, useful = pair(PairKind.SUCCESS, 90, 1, True), pair(PairKind.UTILITY, 50, 50, True)
    assert judge([worked, useful]) == "removed"
    assert judge([pair(PairKind.SUCCESS, 90, 50, False), useful]) == "not removed"
    assert judge([worked, pair(PairKind.UTILITY, 50, 30, False)]) == "harmed"
    assert judge([useful]) == "not verified"
    assert judge([pair(PairKind.SUCCESS, 10, 1, True), useful]) == "not verified"
