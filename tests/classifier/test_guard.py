"""Every registered detector keeps one contract; Diffense obeys its closed forms; the threshold holds what it
promises.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from nightlatch.classifier.attacks.base import triggered
from nightlatch.classifier.guard import DETECTORS, Batch, Guard, Guarded, scores, threshold
from nightlatch.classifier.guard.diffense import Diffense, variant
from nightlatch.classifier.guard.features import ClassWhitening, Whitening
from nightlatch.classifier.guard.sampling import guided_sample, levels, residual
from nightlatch.classifier.guard.tails import Tails, combined
from nightlatch.classifier.subject import TorchSubject
from nightlatch.classifier.victims import resnet
from nightlatch.errors import UnreadableModel, UsageError

QUICK: dict[str, Any] = {"train": 40, "overlays": 4, "copies": 1, "steps": 3, "draws": 2}


def quick(part: type, **given: Any) -> Any:
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{**{k: v for k, v in QUICK.items() if k in known}, **given})


FORMS = [
    *((d, {}) for d in DETECTORS),
    (Diffense, {"form": "map", "tap": -1, "train": 15}),
    (Diffense, {"form": "vector", "distance": "residual"}),
    (Diffense, {"only": ("head-far",), "combine": "cauchy"}),
]


@pytest.mark.parametrize(("part", "given"), FORMS, ids=lambda p: getattr(p, "name", str(p)))
def test_detector_scores_every_picture_and_reads_back_from_its_folder(part, given, clean, test, tmp_path):
    weights = clean.fingerprint
    guard = Guard(clean, quick(part, **given)).fit(test.pictures[:150], 0.1)
    guard.save(tmp_path / "guard")
    read = Guard.load(tmp_path / "guard", clean)
    assert read.record == guard.record
    rest = test.pictures[150:]
    torch.manual_seed(1)
    first = guard.check(rest)
    torch.manual_seed(1)
    again = read.check(rest)
    assert first.scores.shape == (150,)
    assert torch.isfinite(first.scores).all()
    torch.testing.assert_close(first.scores, again.scores)
    assert torch.equal(first.labels, clean.look(rest).labels)
    assert clean.fingerprint == weights


@pytest.mark.parametrize("part", list(DETECTORS), ids=lambda p: p.name)
def test_detector_refuses_too_few_clean_pictures(part, clean, test):
    with pytest.raises(UsageError, match="too few"):
        quick(part)(Batch.of(clean, test.pictures[:20]))


@pytest.mark.parametrize("part", [d for d in DETECTORS if not d.whole_set], ids=lambda p: p.name)
def test_a_picture_s_score_does_not_depend_on_its_neighbours_order(part, clean, test):
    scorer, _ = quick(part)(Batch.of(clean, test.pictures[:100]))
    if part.name in ("diffense", "teco"):
        return  # they draw noise; their order is that of the noise
    batch = Batch.of(clean, test.pictures[100:140])
    order = torch.randperm(40)
    torch.testing.assert_close(
        scores(scorer, batch)[order], scores(scorer, batch.at(order)), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["diffense", "knn", "mahalanobis"])
def test_a_planted_patch_is_flagged_and_clean_pictures_are_served(name, planted, test):
    guard = Guard(
        planted.subject, DETECTORS.create(name, **({"train": 250, "draws": 2} if name == "diffense" else {}))
    )
    guard.fit(test.pictures[:200], 0.1)
    served = Guarded(guard)
    rest = test.at(slice(200, 300))
    answer = served(rest.pictures)
    kept = answer.labels >= 0
    assert kept.float().mean() >= 0.7
    assert torch.equal(answer.labels[kept], answer.checked.labels[kept])
    bad = served(triggered(planted.apply, rest.at(rest.labels != 0).pictures))
    assert (bad.labels == 0).float().mean() <= 0.1
    logits, word = served.serve(rest.pictures)
    assert logits.shape == (100, 3)
    assert word.result(timeout=60).flagged.shape == (100,)


def test_threshold_holds_its_rate_of_false_positives():
    """On exchangeable scores the rate over many draws is at most what was asked for, and not far below."""
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(400):
        x = torch.randn(300, generator=generator)
        rates.append(float((x[100:] > threshold(x[:100], 0.05)).float().mean()))
    assert 0.03 < sum(rates) / len(rates) < 0.055


@pytest.mark.parametrize(("n", "rate"), [(10, 0.05), (100, 0.0), (100, 1.5)])
def test_threshold_that_cannot_be_bounded_is_refused(n, rate):
    with pytest.raises(UsageError, match="cannot bound"):
        threshold(torch.zeros(n), rate)


SPREAD = torch.tensor([3.0, 1.0, 0.3])


def oracle(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The exact noise prediction for z ~ N(0, diag(SPREAD^2)): eps = s x / (a^2 spread^2 + s^2)."""
    now = levels(x.device).at(t, x.ndim)
    return now.s * x / (now.a.pow(2) * SPREAD.pow(2) + now.s.pow(2))


def test_residual_grows_with_the_mahalanobis_distance_for_an_exact_denoiser():
    for axis in range(3):
        torch.manual_seed(0)
        z = torch.zeros(7, 3)
        z[:, axis] = torch.arange(7) * SPREAD[axis]
        r = residual(
            oracle, z.repeat_interleave(200, 0), torch.zeros(1400, dtype=torch.long), (0.1, 0.3, 0.5), 2
        )
        means = r.sum(1).view(7, 200).mean(1)
        assert (means.diff() > 0).all(), axis


def test_guidance_of_no_weight_ignores_the_feature_and_of_great_weight_copies_it():
    labels = torch.zeros(2000, dtype=torch.long)
    z = torch.tensor([[6.0, -2.0, 0.6]]).repeat(2000, 1)
    torch.manual_seed(0)
    free = guided_sample(oracle, z, labels, 0.0, 1.0, 50, 1)[0]
    torch.manual_seed(0)
    other = guided_sample(oracle, -5 * z, labels, 0.0, 1.0, 50, 1)[0]
    torch.testing.assert_close(free, other)
    torch.testing.assert_close(free.std(0), SPREAD, rtol=0.12, atol=0)
    copied = guided_sample(oracle, z, labels, 1e9, 1.0, 50, 1)[0]
    torch.testing.assert_close(copied, z, atol=1e-3, rtol=1e-3)


def test_whitening_gives_unit_variance_on_what_it_was_fitted_to():
    z = torch.randn(500, 12) @ torch.randn(12, 12) + 5
    whiten = Whitening(12, 6)
    whiten.fit(z)
    made = whiten(z)
    assert made.shape == (500, 7)
    torch.testing.assert_close(made[:, :6].T @ made[:, :6] / 499, torch.eye(6), atol=1e-3, rtol=1e-3)
    far = z.mean(0) + 40 * torch.randn(50, 12)
    assert whiten(far)[:, -1].mean() > made[:, -1].mean() + 3


def test_a_guard_is_not_used_for_another_model(clean, test, tmp_path):
    guard = Guard(clean, "knn").fit(test.pictures, 0.1)
    guard.save(tmp_path / "g")
    torch.manual_seed(5)
    with pytest.raises(UsageError, match="another model"):
        Guard.load(tmp_path / "g", resnet(clean.classes, 16, 8, (1, 1, 1)))
    (tmp_path / "g" / "guard.json").write_text("{}")
    with pytest.raises(UnreadableModel, match="no guard"):
        Guard.load(tmp_path / "g", clean)
    with pytest.raises(UsageError, match="not seen clean"):
        Guard(clean).check(test.pictures)


def test_detector_that_needs_weights_refuses_a_model_without(clean, test):
    class Foreign:
        """A subject with answers only."""

        name, classes, size, device = clean.name, clean.classes, clean.size, clean.device
        fingerprint = "other"
        logits, look = clean.logits, clean.look

    batch = Batch.of(Foreign(), test.pictures[:60])
    assert not isinstance(batch.subject, TorchSubject)
    with pytest.raises(UsageError, match="needs the model's weights"):
        DETECTORS.create("ibd-psc")(batch)
    assert len(DETECTORS.create("knn")(batch)[0].known) == 60


def test_tails_are_minus_the_log_of_how_rare_a_score_is():
    """On exponential scores -log p(s) is s itself, beyond the body; a column's unit does not count."""
    torch.manual_seed(0)
    x = -torch.rand(20_000, 1).log()
    tails = Tails(2)
    tails.fit(torch.cat([x, 50 * x + 7], 1))
    s = torch.tensor([[2.0], [4.0], [12.0]])
    made = tails(torch.cat([s, 50 * s + 7], 1))
    torch.testing.assert_close(made, s.expand(3, 2), rtol=0.05, atol=0.05)
    grown = tails(torch.linspace(-5, 20, 200)[:, None].expand(200, 2))
    assert (grown[1:] >= grown[:-1]).all()
    assert (grown >= 0).all()


def test_combinations_of_rarities():
    rarity = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 9.0]])
    assert combined(rarity, "fisher").tolist() == [3.0, 9.0]
    torch.testing.assert_close(combined(rarity, "cauchy"), rarity.exp().mean(1).log())


def test_class_whitening_measures_in_the_axes_of_one_class():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (900,))
    centres = 10 * torch.randn(4, 6)
    mix = torch.randn(6, 6)
    z = centres[labels] + torch.randn(900, 6) @ mix
    whiten = ClassWhitening(6, 6, 4)
    whiten.fit(z, labels)
    made = whiten(z, labels)[:, :6]
    torch.testing.assert_close(made.T @ made / 900, torch.eye(6), atol=0.02, rtol=0)
    far = made.pow(2).sum(1)  # the Mahalanobis distance within classes
    inverse = torch.linalg.inv((mix.T @ mix).double()).float()
    apart = z - centres[labels]
    assert torch.corrcoef(torch.stack([far, (apart @ inverse * apart).sum(1)]))[0, 1] > 0.95
    nearest = torch.cdist(z, centres[:3]).argsort(1)
    wrong = nearest[:, 1]
    assert (whiten(z, wrong)[:, :6].pow(2).sum(1) > far).float().mean() > 0.99
    other = whiten.runner_up(z, labels)
    assert (other != labels).all()
    assert (other != 3).all()  # no clean picture showed it


def test_a_variant_measures_with_the_same_networks(clean, test):
    known = Batch.of(clean, test.pictures[:150])
    scorer, _ = quick(Diffense)(known)
    plain = variant(scorer, known, 0, distance="mahalanobis", only=("head-far",))
    batch = Batch.of(clean, test.pictures[150:])
    head = scorer.names.index("head-far")
    z = plain.parts()[0].latent(batch.seen, batch.labels[:, None].expand(-1, 5))[:, head]
    order = scores(plain, batch).argsort()
    lengths = (z.pow(2) / plain.parts()[0].spread[head]).sum(1)
    assert torch.equal(order, lengths.argsort())
    for a, b in zip(
        scorer.parts()[0].denoiser.parameters(), plain.parts()[0].denoiser.parameters(), strict=True
    ):
        assert torch.equal(a, b)
