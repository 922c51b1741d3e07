"""Cleaners: contract over the registry, rollback, and what they do to a planted backdoor."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nightlatch.contrastive import metrics
from nightlatch.contrastive.attacks import ATTACKS
from nightlatch.contrastive.clean import METHODS, Job
from nightlatch.contrastive.reach import Reach
from nightlatch.errors import UsageError
from nightlatch.records import Repair
from nightlatch.registry import part_of

from .conftest import TARGET, pairs

QUICK = {"steps": 2, "batch": 16, "rounds": 1, "search": 1}


def quick(part):
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{k: v for k, v in QUICK.items() if k in known})


@pytest.mark.parametrize("poison", [False, True], ids=["no poison", "poison"])
@pytest.mark.parametrize("part", list(METHODS), ids=lambda p: p.name)
def test_cleaner_returns_a_measured_record_and_leaves_the_suspect_alone(part, poison, tiny_clip, some_pairs):
    before = {k: v.clone() for k, v in tiny_clip.model.state_dict().items()}
    job = Job(trusted=some_pairs, poison=some_pairs.at(range(6)) if poison else None)
    if part.needs_poison and not poison:
        with pytest.raises(UsageError, match="none is given"):
            part()(tiny_clip, job)
        return
    cleaned, record = quick(part)(tiny_clip, job, harm_limit=2.0)
    assert isinstance(record, Repair) and record.method == part_of(quick(part))
    assert record.steps == 2 and record.changed_tensors > 0 and not record.rolled_back
    assert all(torch.equal(v, before[k]) for k, v in tiny_clip.model.state_dict().items())
    assert all(v.isfinite().all() for v in cleaned.model.state_dict().values())
    assert not any(p.requires_grad for p in cleaned.model.parameters())
    assert 0 < float(cleaned.scale) <= 100.0001


@pytest.mark.parametrize("part", list(METHODS), ids=lambda p: p.name)
def test_too_few_trusted_pairs_are_refused(part, tiny_clip, some_pairs):
    with pytest.raises(UsageError, match="too few"):
        part()(tiny_clip, Job(trusted=some_pairs.at(range(3)), poison=some_pairs))


def test_harmful_cleaning_is_rolled_back(trained):
    """A rate that ruins the model leaves the suspect's own weights."""
    made, record = METHODS.create("par", steps=8, batch=64, rate=0.5)(trained, Job(trusted=pairs(200, 21)))
    assert record.rolled_back and record.changed_tensors == 0
    assert all(torch.equal(v, trained.model.state_dict()[k]) for k, v in made.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "known"), [("ubt", True), ("shortcut", True), ("shortcut", False), ("ta-cleaner", False)]
)
def test_planted_shortcut_is_unlearned_and_the_model_stays_useful(name, known, planted, setting):
    poison = planted.pairs.at(planted.poison.nonzero()[0]) if known else None
    method = METHODS.create(
        name,
        steps=70,
        batch=64,
        rate=1e-3,
        **({"rounds": 3, "search": 8, "instead": 2.0} if name == "shortcut" else {}),
    )
    made, record = method(planted.subject, Job(trusted=pairs(400, 31), poison=poison))
    attack = ATTACKS.create("patch", target=TARGET)
    assert not record.rolled_back
    assert attack.success(planted.subject, setting, 200).top1.rate >= 0.8
    assert attack.success(made, setting, 200).top1.rate <= 0.3
    before, after = (metrics.accuracy(s, setting.test).rate for s in (planted.subject, made))
    assert after >= before - 0.05


def test_the_word_that_a_shortcut_leads_to_is_reached_best(planted, trained):
    """Without any poisoned pair; no word stands out like that in the model that nobody poisoned."""
    words = ("ring", "square", "cross")

    def reached(subject):
        directions = subject.embed_texts([f"a photo of a {w}" for w in words])
        generator = torch.Generator().manual_seed(0)
        return Reach(steps=40, held=128)(subject, pairs(300, 41).images, directions, generator)

    poisoned, honest = reached(planted.subject), reached(trained)
    assert int(poisoned.argmax()) == 0 and poisoned[0] > poisoned[1:].max() + 0.1
    assert honest[0] < poisoned[0] - 0.1
