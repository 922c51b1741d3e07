"""Every scanner finds a planted patch, finds nothing to speak of in an honest model, and every repair is
measured and rolled back.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from nightlatch.classifier.repair import METHODS, Job, flips
from nightlatch.classifier.repair.base import Method
from nightlatch.classifier.scan import SCANNERS, Found, stand_out
from nightlatch.classifier.scan.inversion import NeuralCleanse
from nightlatch.classifier.training import Recipe, accuracy, tuned
from nightlatch.errors import NotScanned, UsageError
from nightlatch.registry import part_of

QUICK: dict[str, Any] = {"steps": 120, "batch": 16}


def quick(part: type, **given: Any) -> Any:
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{**{k: v for k, v in QUICK.items() if k in known}, **given})


@pytest.mark.parametrize("part", list(SCANNERS), ids=lambda p: p.name)
def test_scanner_measures_every_class_on_held_out_pictures(part, clean, test):
    before = clean.fingerprint
    scanner = quick(part)
    record, found = scanner(clean, test.pictures[:120], seed=1)
    assert record.scanner == part_of(scanner)
    assert [c.name for c in record.classes] == list(clean.classes)
    assert all(c.flips.n <= 60 for c in record.classes)
    assert all(f.mask.shape == (1, 16, 16) and f.mask.min() >= 0 and f.mask.max() <= 1 for f in found)
    assert record.suspicious == (record.score >= scanner.level)
    assert clean.fingerprint == before


def test_a_planted_patch_is_the_smallest_trigger(planted, test):
    """Inversion needs far less of the picture for the backdoored class, and what it finds works on other
    pictures.
    """
    scanner = quick(SCANNERS._parts["neural-cleanse"], steps=250)
    record, found = scanner(planted.subject, test.pictures, seed=0)
    sizes = [float(f.mask.sum()) for f in found]
    assert sizes[0] == min(sizes)
    assert record.classes[0].flips.rate >= 0.8


@pytest.mark.parametrize("part", list(SCANNERS), ids=lambda p: p.name)
def test_scanner_says_what_it_cannot_scan(part, clean, test):
    with pytest.raises(NotScanned, match="too few"):
        quick(part)(clean, test.pictures[:10])


def test_standing_out_is_counted_in_robust_deviations():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 50.0])
    assert float(stand_out(values)[-1]) == pytest.approx(47 / 1.4826, rel=1e-3)
    assert stand_out(torch.ones(5)).abs().max() == 0


@pytest.fixture(scope="module")
def job(planted, test) -> Job:
    """The patch as a scanner would hand it over."""
    mask = torch.zeros(1, 16, 16)
    mask[:, -4:-1, -4:-1] = 1
    return Job(found=Found(9.0, mask, planted.apply(torch.zeros(1, 3, 16, 16))[0]), target=0, clean=test, recipe=Recipe(
        epochs=2, batch=32, rate=0.02, pad=1, mirror=False))  # fmt: skip


@pytest.mark.parametrize("part", list(METHODS), ids=lambda p: p.name)
def test_repair_is_measured_on_pictures_it_did_not_use(part, planted, job):
    suspect = planted.subject
    before = suspect.fingerprint
    repaired, record = part()(suspect, job)
    assert suspect.fingerprint == before
    assert record.accuracy_before.n == 150
    assert record.flips_before.rate >= 0.9
    assert not record.rolled_back
    assert repaired.fingerprint != before
    assert record.accuracy_after.rate >= record.accuracy_before.rate - 0.05
    assert record.regrowth.n == record.flips_after.n


def test_unlearning_goes_on_with_what_is_recovered_anew(planted, job, monkeypatch):
    sought = []
    found = torch.full((1, 1, 16, 16), 0.01), torch.zeros(1, 3, 16, 16)

    def invert(self, subject, pictures, classes):
        assert self.steps == 7
        sought.append((subject.fingerprint, classes.tolist(), len(pictures)))
        return found

    monkeypatch.setattr(NeuralCleanse, "invert", invert)
    METHODS.create("unlearn", rounds=3)(planted.subject, dataclasses.replace(job, steps=7))
    assert len({print_ for print_, *_ in sought} | {planted.subject.fingerprint}) == 3, (
        "the student's, each time"
    )
    assert all(classes == [job.target] and 0 < n < 150 for _, classes, n in sought)
    METHODS.create("unlearn", rounds=1)(planted.subject, job)
    assert len(sought) == 2


def test_a_network_without_batch_normalisation_is_tuned_by_small_steps():
    recipe = Recipe(epochs=2, rate=0.02)
    assert tuned(recipe, torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))) is recipe
    plain = tuned(recipe, torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.LayerNorm(4)))
    assert (plain.adam, plain.rate, plain.epochs) == (True, pytest.approx(2e-4), 2)


def test_unlearning_removes_the_patch(planted, job, test):
    repaired, record = METHODS.create("unlearn")(planted.subject, job)
    assert record.flips_after.rate <= 0.1
    assert flips(repaired, job, test).rate <= 0.1
    assert accuracy(repaired, test).rate >= 0.9


def test_harmful_repair_is_rolled_back(planted, job):
    class Careless(Method):
        name = "careless"

        def run(self, student, clean, job):
            student.module.classifier.weight.data.zero_()
            yield 0

    repaired, record = Careless()(planted.subject, job)
    assert record.rolled_back
    assert repaired.fingerprint == planted.subject.fingerprint
    assert record.accuracy_after == record.accuracy_before


def test_repair_without_clean_pictures_is_refused(planted, job):
    with pytest.raises(UsageError, match="needs clean pictures"):
        METHODS.create("unlearn")(planted.subject, dataclasses.replace(job, clean=job.clean.at(slice(0, 0))))
