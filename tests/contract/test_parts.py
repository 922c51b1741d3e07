"""Every registered part keeps its contract: it runs on a real small model, changes only what it may, and is measured by its base."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from nightlatch.errors import UsageError
from nightlatch.records import PlacedTrigger, Repair
from nightlatch.registry import part_of
from nightlatch.terms import Role
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import METHODS, Job

QUICK = {"steps": 2, "batch": 8, "drawings": 8, "pairs": 8, "preserve": 8, "prompts": 6, "least": 1}


def quick(part: type, **given: Any) -> Any:
    """A part with every costly parameter at its smallest."""
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{**{k: v for k, v in QUICK.items() if k in known}, **given})


def state(subject: Subject) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v.clone() for n, m in subject.components.items() for k, v in m.state_dict().items()}


@pytest.mark.parametrize("carrier", [Role.DENOISER, Role.TEXT])
@pytest.mark.parametrize("part", list(METHODS), ids=lambda p: p.name)
def test_repair_returns_a_measured_record_and_leaves_the_suspect_alone(part, carrier, tiny_v, texts, few_steps):
    before = state(tiny_v)
    job = Job(triggers=[PlacedTrigger(text="zibu")], prompts=texts[:20], carriers=[carrier], base=tiny_v, sampling=few_steps)
    repaired, record = quick(part)(tiny_v, job, harm_limit=float("inf"))
    assert isinstance(record, Repair)
    assert record.method == part_of(quick(part))
    assert record.steps >= 1
    assert all(torch.equal(v, before[k]) for k, v in state(tiny_v).items())
    assert all(torch.isfinite(v).all() for v in state(repaired).values())
    assert not any(p.requires_grad for m in repaired.components.values() for p in m.parameters())


@pytest.mark.parametrize("part", list(METHODS), ids=lambda p: p.name)
def test_repair_without_a_trigger_is_refused(part, tiny_v, texts, few_steps):
    with pytest.raises(UsageError, match="no trigger"):
        quick(part)(tiny_v, Job(triggers=[], prompts=texts[:20], sampling=few_steps))


def test_repair_that_needs_a_base_says_so(tiny_v, texts, few_steps):
    with pytest.raises(UsageError, match="needs a trusted base"):
        METHODS.create("restore")(tiny_v, Job(triggers=[PlacedTrigger(text="zibu")], prompts=texts[:20], sampling=few_steps))


def test_harmful_repair_is_rolled_back(tiny, texts, few_steps):
    """By the limit that users have, for both predictions."""
    job = Job(triggers=[PlacedTrigger(text="zibu")], prompts=texts[:20], sampling=few_steps)
    repaired, record = METHODS.create("skd", steps=3, rate=0.5, prompts=6, batch=4)(tiny, job)
    assert record.rolled_back
    assert record.changed_tensors == 0
    assert all(torch.equal(v, state(tiny)[k]) for k, v in state(repaired).items())


def test_near_names_are_suggested():
    with pytest.raises(UsageError, match="'badt2i-object'"):
        ATTACKS.create("badt2i-objekt", trigger="a", target="b")
    with pytest.raises(UsageError, match="'steps'"):
        METHODS.create("sau", stebs=3)
