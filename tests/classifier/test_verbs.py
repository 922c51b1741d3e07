"""The verbs on classifiers, as a user types them: guard fit and check, scan, data scan, vary and train."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from nightlatch.classifier.attacks.base import triggered
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.loading import save_model
from nightlatch.classifier.sources import open_data
from nightlatch.cli import app

CALL = CliRunner()


def call(*words: object):
    return CALL.invoke(app, [str(w) for w in words])


def write(
    path: Path, pictures: torch.Tensor, labels: torch.Tensor | None = None, classes: tuple[str, ...] = ()
) -> None:
    for k, picture in enumerate(pictures):
        folder = path / classes[int(labels[k])] if labels is not None else path
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{k:04d}.png")


@pytest.fixture(scope="module")
def places(planted, test, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("places")
    save_model(planted.subject, root / "model")
    write(root / "clean", test.pictures[:160], test.labels[:160], test.classes)
    rest = test.at(slice(160, 240))
    write(
        root / "mixed",
        torch.cat([rest.pictures[:60], triggered(planted.apply, rest.at(rest.labels != 0).pictures[:10])]),
    )
    return root


@pytest.fixture(scope="module")
def guard(places) -> Path:
    done = call("guard", "fit", places / "model", "--data", places / "clean", "-o", places / "guard", "--detector", "knn",
                "--false-positives", "0.1")  # fmt: skip
    assert done.exit_code == 0, done.output
    return places / "guard"


def test_a_guard_flags_triggered_pictures_first(places, guard):
    (places / "mixed" / "broken.png").write_bytes(b"no picture")
    done = call("guard", "check", guard, places / "mixed")
    assert done.exit_code == 1, done.output
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == 70
    bad = [f for f in found if f["picture"] >= "0060.png"]
    assert sum(f["flagged"] for f in bad) >= 9
    assert [f["flagged"] for f in found] == sorted((f["flagged"] for f in found), reverse=True)
    assert sum(f["flagged"] for f in found) <= 10 + 18  # a tenth of 60 is promised on average
    assert "broken.png cannot be read" in done.output


def test_a_guard_of_a_model_that_was_moved_is_told_where(places, guard, tmp_path):
    shutil.copytree(places / "model", tmp_path / "moved")
    shutil.copytree(guard, tmp_path / "guard")
    record = json.loads((tmp_path / "guard" / "guard.json").read_text())
    (tmp_path / "guard" / "guard.json").write_text(json.dumps({**record, "model": str(tmp_path / "gone")}))
    lost = call("guard", "check", tmp_path / "guard", places / "mixed")
    assert lost.exit_code == 2
    assert "no model folder" in lost.output
    assert (
        call("guard", "check", tmp_path / "guard", places / "mixed", "--model", tmp_path / "moved").exit_code
        == 1
    )


def test_a_guard_is_not_written_over_and_needs_enough_pictures(places, guard, tmp_path):
    again = call("guard", "fit", places / "model", "--data", places / "clean", "-o", guard)
    assert again.exit_code == 2
    assert "there already" in again.output
    few = call("guard", "fit", places / "model", "--data", places / "mixed", "-o", tmp_path / "g", "--detector", "knn",
               "--false-positives", "0.01")  # fmt: skip
    assert few.exit_code == 2
    assert "clean pictures" in few.output
    assert not (tmp_path / "g").exists()


def test_poisoned_pictures_are_ranked_with_their_reason(planted, tmp_path):
    data: Labelled = planted.data
    np.savez(
        tmp_path / "set.npz", images=data.pictures.permute(0, 2, 3, 1).numpy(), labels=data.labels.numpy()
    )
    save_model(planted.subject, tmp_path / "model")
    ranking = tmp_path / "ranking.jsonl"
    done = call("data", "scan", tmp_path / "set.npz", "--model", tmp_path / "model", "--generator",
                "heavy-augmentation", "-o", ranking)  # fmt: skip
    assert done.exit_code == 1, done.output
    found = [json.loads(line) for line in ranking.read_text().splitlines()]
    assert len(found) == len(data)
    scores = [f["score"] for f in found]
    assert scores == sorted(scores, reverse=True)
    poisoned = {str(k) for k in planted.poisoned.nonzero().flatten().tolist()}
    first = [f["picture"] in poisoned for f in found[: len(poisoned)]]
    assert np.mean(first) >= 0.3 > 2 * len(poisoned) / len(data)
    assert all(f["reasons"] for f in found[:10])


def test_pictures_without_labels_cannot_be_scanned_for_poison(places):
    done = call("data", "scan", places / "mixed")
    assert done.exit_code == 2
    assert "no label" in done.output


@pytest.mark.parametrize("form", ["folder", "npz", "parquet"])
def test_a_data_set_is_rebuilt_in_its_own_form(form, places, test, tmp_path):
    few = test.at(slice(0, 12))
    if form == "folder":
        source = tmp_path / "set"
        write(source, few.pictures, few.labels, few.classes)
    elif form == "npz":
        source = tmp_path / "set.npz"
        np.savez(
            source,
            images=few.pictures.permute(0, 2, 3, 1).numpy(),
            labels=few.labels.numpy(),
            names=np.array(few.classes),
        )
    else:
        from nightlatch.classifier.parquet import write_parquet
        from nightlatch.classifier.vary.rebuild import png

        source = tmp_path / "set"
        source.mkdir()
        images = [png(p.permute(1, 2, 0).numpy()) for p in few.pictures]
        write_parquet(source / "a.parquet", images, few.labels.tolist(), few.classes)
    out = tmp_path / ("new.npz" if form == "npz" else "new")
    done = call("data", "vary", source, "-o", out, "--generator", "heavy-augmentation")
    assert done.exit_code == 0, done.output
    before, after = (open_data(p).load()[0] for p in (source, out))
    assert after.classes == before.classes
    assert torch.equal(after.labels, before.labels)
    assert after.pictures.shape == before.pictures.shape
    assert not torch.equal(after.pictures, before.pictures)
    again = call("data", "vary", source, "-o", out, "--generator", "heavy-augmentation")
    assert again.exit_code == 2
    assert not list(tmp_path.glob("*.parts"))


def test_an_interrupted_rebuild_goes_on_and_another_one_does_not(test, tmp_path):
    from nightlatch.classifier.vary import VARIATIONS
    from nightlatch.classifier.vary import rebuild as rebuilding
    from nightlatch.errors import UsageError

    source = tmp_path / "set"
    write(source, test.pictures[:300], test.labels[:300], test.classes)
    pictures, vary = open_data(source), VARIATIONS.create("heavy-augmentation")
    lines: list[str] = []

    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        lines.append(line)
        raise Stop

    with pytest.raises(Stop):
        rebuilding.rebuild(source, pictures, vary, tmp_path / "new", (16, 16), stop)
    parts = list((tmp_path / "new.parts").glob("*.npz"))
    assert len(parts) == 1
    made = parts[0].read_bytes()
    with pytest.raises(UsageError, match="another rebuild"):
        rebuilding.rebuild(
            source, pictures, VARIATIONS.create("none"), tmp_path / "new", (16, 16), lines.append
        )
    assert parts[0].read_bytes() == made
    record = rebuilding.rebuild(source, pictures, vary, tmp_path / "new", (16, 16), lines.append)
    assert record.pictures == 300
    assert len(open_data(tmp_path / "new")) == 300


def test_a_student_is_taught_and_written_with_its_scorecard(places, tmp_path):
    done = call(
        "data",
        "train",
        places / "clean",
        "--teacher",
        places / "model",
        "-o",
        tmp_path / "student",
        "--epochs",
        10,
    )
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "student" / "student.json").read_text())
    assert card["taught"] == 144
    assert card["agreement"]["n"] == 16
    assert card["agreement"]["rate"] >= 0.6
    again = call(
        "guard",
        "fit",
        tmp_path / "student",
        "--data",
        places / "clean",
        "-o",
        tmp_path / "g",
        "--detector",
        "mahalanobis",
    )
    assert again.exit_code == 0, again.output


def test_several_rebuilds_of_one_set_teach_together_and_those_of_another_do_not(places, test, tmp_path):
    made = [tmp_path / f"new-{k}" for k in range(2)]
    for k, out in enumerate(made):
        done = call(
            "data", "vary", places / "clean", "-o", out, "--generator", "heavy-augmentation", "--seed", k
        )
        assert done.exit_code == 0, done.output
    first, second = (open_data(p).load()[0].pictures for p in made)
    assert not torch.equal(first, second)
    train = ("--teacher", places / "model", "--epochs", 1, "-o")
    done = call("data", "train", *made, *train, tmp_path / "student")
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "student" / "student.json").read_text())
    assert (card["taught"], card["variations"], card["agreement"]["n"]) == (144, 2, 16)
    write(tmp_path / "other", test.pictures[:159], test.labels[:159], test.classes)
    refused = call("data", "train", made[0], tmp_path / "other", *train, tmp_path / "no")
    assert refused.exit_code == 2
    assert "same pictures" in refused.output
    assert not (tmp_path / "no").exists()
