"""The experiments on classifiers at their smallest: every task gives rows, every table is written, and nothing is done twice."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nightlatch import runs
from nightlatch.bench.classifier import figures, guard_rows, variation_rows, victim_rows, worlds
from nightlatch.bench.classifier.lab import Lab
from nightlatch.bench.classifier.measure import auroc
from nightlatch.bench.classifier.plan import SMALL, TINY
from nightlatch.bench.classifier.tasks import tasks
from nightlatch.bench.classifier.work import How, needed, refused, work

PARTS = (
    "guard-victim-cifar10", "student-victim-cifar10-resnet-badnets-0-none",
    "student-victim-cifar10-resnet-badnets-0-diffusion-0.5-0.5", "fewshot-gtsrb",
)  # fmt: skip
"""Tasks of every kind but the slowest."""
TABLES = ("clean", "attacks", "guard", "generator", "variations", "fewshot")


def jpegs(path: Path, n: int, classes: int, size: int, **more: np.ndarray) -> None:
    """Striped pictures as JPEG files end to end, as the data sets are packed."""
    rng = np.random.default_rng(len(path.name))
    labels = np.arange(n) % classes
    images = (rng.random((n, size, size, 3)) * 60).astype(np.uint8)
    files = []
    for image, label in zip(images, labels, strict=True):
        start = int(label) * size // classes
        image[:, start : start + max(2, size // classes)] += 120
        out = io.BytesIO()
        Image.fromarray(image).save(out, "jpeg", quality=95)
        files.append(out.getvalue())
    offset = np.cumsum([0, *map(len, files)])
    np.savez(
        path,
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offset=offset,
        label=labels.astype(np.uint8),
        **more,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    jpegs(folder / "cifar10_train.npz", 300, 10, 32)
    jpegs(folder / "cifar10_test.npz", 300, 10, 32)
    jpegs(folder / "gtsrb32.npz", 480, 6, 32, track=np.arange(480) // 12)
    jpegs(folder / "tiny_imagenet20.npz", 120, 5, 64)
    return folder


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_tasks_give_their_rows_once(data, tmp_path, one_thread, monkeypatch):
    few = {k: v for k, v in guard_rows.VARIANTS.items() if "mahalanobis" in v.values() or "one step" in k}
    monkeypatch.setattr(guard_rows, "VARIANTS", few)
    monkeypatch.setattr(victim_rows, "SCANNED", 60)
    monkeypatch.setattr("nightlatch.bench.classifier.tasks.STRENGTHS", (0.2, 0.5))
    monkeypatch.setattr(variation_rows, "STRENGTHS", (0.5,))
    plan = replace(
        TINY,
        data=("cifar10",),
        fewshot=("gtsrb",),
        most=100,
        held=32,
        suite=0,
        profile="small",
        size=16,
        learned=80,
    )
    lab = Lab(tmp_path / "work", tmp_path / "decoded", data, plan)
    said: list[str] = []
    with runs.Run(tmp_path / "run") as run:
        left = work(run, lab, said.append, How(only=PARTS))
        figures.write(run.rows(), tmp_path / "figures")
    assert not left, said
    assert not [line for line in said if "Error" in line or "Failed" in line]
    for table in TABLES:
        file = figures.FILES[table]
        rows = json.loads((tmp_path / "figures" / file).read_text())
        assert rows, table
        assert all({"command", "seed", "commit"} <= set(row) for row in rows)
    guard = json.loads((tmp_path / "figures" / "classifier_guard.json").read_text())
    assert all(row["profile"] == "small" for row in guard)
    assert all(0 <= row["auroc"] <= 1 and row["success_after"]["n"] == row["n_triggered"] for row in guard)
    with runs.Run(tmp_path / "run") as run:
        again: list[str] = []
        assert not work(run, lab, again.append, How(only=PARTS))
        assert not again


def test_tasks_need_only_what_other_tasks_make():
    every = tasks(TINY)
    by_name = {t.name: t for t in every}
    assert len(by_name) == len(every)
    for task in every:
        for need in task.needs:
            assert by_name[need].makes
            assert by_name[need].rank <= task.rank
    assert needed(every, by_name, ("diff2",), {}) == {
        "diff2",
        "clean-cifar10-resnet-0",
        "generator-first",
        "generator-second",
    }


def test_no_picture_has_two_purposes(data, tmp_path):
    for name in ("cifar10", "gtsrb"):
        parts = worlds.load(worlds.decode(data, name, tmp_path), "cpu")
        seen: set[bytes] = set()
        for part in parts.values():
            own = {p.numpy().tobytes() for p in part.pictures}
            assert not own & seen
            seen |= own


def test_area_under_the_curve_counts_ties_half():
    assert auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert auroc(torch.tensor([1.0, 1.0]), torch.tensor([1.0])) == 0.5
    bad, good = torch.randn(50) + 1, torch.randn(70)
    pairs = (bad[:, None] > good).double() + 0.5 * (bad[:, None] == good).double()
    assert auroc(bad, good) == pytest.approx(float(pairs.mean()))


def test_a_run_goes_on_from_figures(tmp_path):
    """What is in the figures is not done again, and nothing is built on an attack that was refused."""
    every = tasks(TINY)
    by_name = {t.name: t for t in every}
    victim, clean = "victim-cifar10-resnet-badnets-0", "clean-cifar10-resnet-0"
    units = [
        {"task": clean, "rows": [{"table": "clean", "accuracy": 0.5, "seed": 0}]},
        {"task": victim, "rows": [{"table": "attacks", "refused": True, "seed": 0}]},
    ]
    figures.write(units, tmp_path)
    known = figures.read(tmp_path)
    assert set(known) == {clean, victim}
    assert refused(known) == {victim}
    assert clean in needed(every, by_name, (f"scan-{clean}",), known)  # made anew, since the scan needs it
    assert clean not in needed(every, by_name, ("small-cifar10",), known)
    figures.write([{"task": clean, "rows": [{"table": "clean", "accuracy": 0.9, "seed": 0}]}], tmp_path)
    assert [r["accuracy"] for r in figures.read(tmp_path)[clean]] == [0.5]


def test_rows_of_one_profile_are_not_those_of_another(tmp_path):
    """A task of the same name at another size is neither known nor left out."""
    row = {"table": "clean", "accuracy": 0.5, "seed": 0}
    figures.write([{"task": "one", "rows": [row]}], tmp_path)
    figures.write([{"task": "one", "rows": [{**row, "profile": "small", "accuracy": 0.3}]}], tmp_path)
    assert [r["accuracy"] for r in figures.known(tmp_path, "")["one"]] == [0.5]
    assert [r["accuracy"] for r in figures.known(tmp_path, "small")["one"]] == [0.3]
    assert figures.known(tmp_path, "other") == {}


def test_small_profile_asks_for_nothing_that_it_does_not_make():
    every = tasks(SMALL)
    by_name = {t.name: t for t in every}
    wanted = needed(every, by_name, ("student-", "purify-"), {})
    assert {"victim-cifar10-resnet-badnets-0", "victim-cifar10-resnet-blended-0", "generator-first"} <= wanted
    assert not [name for name in wanted if name.startswith(("scan", "fewshot", "guard", "small", "curve"))]


def test_pictures_are_made_smaller_by_means(data, tmp_path):
    path = worlds.decode(data, "cifar10", tmp_path)
    whole, small = worlds.world("cifar10", path, "cpu"), worlds.world("cifar10", path, "cpu", 0, 16, 50)
    assert small.train.pictures.shape == (50, 3, 16, 16) and small.first.pictures.shape[-1] == 16
    expected = whole.train.pictures[7, :, :2, :2].float().mean((1, 2)).round()
    assert torch.equal(small.train.pictures[7, :, 0, 0].float(), expected)
    assert torch.equal(small.held.labels, whole.held.labels)
