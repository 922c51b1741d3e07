"""Every registered repair keeps its contract: it runs on a real small model, changes only what it may, and is
measured by its base.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from nightlatch.errors import UsageError
from nightlatch.records import Carrier, PlacedTrigger
from nightlatch.registry import part_of
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair import METHODS, Job, Method
from nightlatch.text2image.repair.blind import Search
from nightlatch.text2image.repair.sau import SAU
from nightlatch.text2image.repair.text import TextUnlearning

QUICK: dict[str, Any] = {
    "steps": 2,
    "batch": 8,
    "prompts": 6,
    "least": 1,
    "rounds": 1,
    "drawings": 4,
    "search": Search(sweep=64, strings=1, steps=1, prompts=2, random=2),
    "text": TextUnlearning(steps=2, batch=4, prompts=6, least=1),
}
QUICK["training"] = SAU(**{f.name: QUICK[f.name] for f in dataclasses.fields(SAU) if f.name in QUICK})
ZIBU = PlacedTrigger(text="zibu")


def quick(part: type[Method], **given: Any) -> Method:
    """A repair with every costly parameter at its smallest."""
    known = {f.name for f in dataclasses.fields(part)}
    return part(**{**{k: v for k, v in QUICK.items() if k in known}, **given})


def state(subject: Subject) -> dict[tuple[str, str], torch.Tensor]:
    return {(n, k): v.clone() for n, p in subject.parts.items() for k, v in p.module.state_dict().items()}


@pytest.fixture
def job(texts: list[Prompt], few_steps: Sampling) -> Job:
    return Job(triggers=[ZIBU], prompts=texts[:6], sampling=few_steps)


@pytest.fixture(scope="module")
def base(tiny_v: Subject) -> Subject:
    """Another model of the same kind."""
    made = tiny_v.copied(Role.TEXT, Role.DENOISER)
    for p in made.modules(Role.TEXT)[0].parameters():
        p.data.mul_(1.01)
    return made


@pytest.mark.parametrize(
    ("part", "carrier"),
    [(p, role) for p in METHODS for role in (Role.DENOISER, Role.TEXT) if role in p.changes],
    ids=lambda p: p.value if isinstance(p, Role) else p.name,
)
def test_it_returns_a_measured_record_and_leaves_the_suspect_alone(
    part: type[Method], carrier: Role, tiny_v: Subject, base: Subject, job: Job
) -> None:
    before, method = state(tiny_v), quick(part, harm_limit=math.inf)
    repaired, record = method(tiny_v, dataclasses.replace(job, carriers=[carrier], base=base))
    assert record.method == part_of(method)
    assert record.triggers == (ZIBU,)
    assert record.carriers == tuple(Carrier(component=name, role=carrier) for name in tiny_v.named(carrier))
    assert record.used_base is (part.needs_base or part.may_use_base)
    assert record.steps == len(record.history) >= 1
    assert all(torch.equal(v, before[k]) for k, v in state(tiny_v).items())
    after = state(repaired)
    assert all(torch.isfinite(v).all() for v in after.values())
    changed = [k for k, v in after.items() if not torch.equal(v, before[k])]
    assert len(changed) == record.changed_tensors
    assert {name for name, _ in changed} <= {name for role in part.changes for name in tiny_v.named(role)}
    assert not any(p.requires_grad for m in repaired.modules(*Role) for p in m.parameters())


@pytest.mark.parametrize("part", list(METHODS), ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"triggers": [PlacedTrigger(text=" ")]}, "no trigger"),
        ({"prompts": []}, "not two prompts"),
        ({"carriers": [Role.SCHEDULER]}, "changes nothing"),
        ({"carriers": []}, "changes nothing"),
    ],
    ids=["empty trigger", "no prompt", "another carrier", "no carrier"],
)
def test_what_cannot_be_done_is_refused_with_a_remedy(
    part: type[Method], given: dict[str, Any], said: str, tiny_v: Subject, job: Job
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        quick(part)(tiny_v, dataclasses.replace(job, base=tiny_v, **given))
    assert caught.value.remedy


@pytest.mark.parametrize("part", [p for p in METHODS if p.needs_trigger], ids=lambda p: p.name)
def test_a_trigger_that_is_missing_is_said(part: type[Method], tiny_v: Subject, job: Job) -> None:
    with pytest.raises(UsageError, match="no trigger") as caught:
        quick(part)(tiny_v, dataclasses.replace(job, base=tiny_v, triggers=[]))
    assert "--trigger" in caught.value.remedy


def test_some_repairs_need_no_trigger(tiny_v: Subject, job: Job) -> None:
    free = [part.name for part in METHODS if not part.needs_trigger]
    assert {"blind", "perturb"} <= set(free)


def test_repairs_that_change_the_carrier_are_named(tiny_v: Subject, job: Job) -> None:
    with pytest.raises(UsageError, match="Repairs that change it: restore"):
        METHODS.create("sau")(tiny_v, dataclasses.replace(job, carriers=[Role.DECODER]))


@pytest.mark.parametrize("part", [p for p in METHODS if p.needs_base], ids=lambda p: p.name)
def test_a_base_that_is_missing_or_of_another_kind_is_said(
    part: type[Method], tiny_v: Subject, job: Job
) -> None:
    job = dataclasses.replace(job, carriers=part.changes[:1])
    with pytest.raises(UsageError, match="needs a trusted base"):
        quick(part)(tiny_v, job)

    class Larger(type(tiny_v)):  # type: ignore[misc]
        """A model of the same weights that draws larger pictures."""

        latent_shape = (4, 16, 16)

    larger = Larger("another", tiny_v.pipeline, tiny_v.device)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="another kind of model"):
        quick(part)(tiny_v, dataclasses.replace(job, base=larger))


def test_harmful_repair_is_rolled_back(tiny: Subject, job: Job) -> None:
    """By the limit that users have, for both predictions."""
    repaired, record = METHODS.create("skd", steps=3, rate=0.5, prompts=6, batch=4)(tiny, job)
    before = state(tiny)
    assert record.rolled_back
    assert record.changed_tensors == 0
    assert all(torch.equal(v, before[k]) for k, v in state(repaired).items())


def test_a_repair_that_makes_numbers_which_are_not_finite_is_rolled_back(tiny_v: Subject, job: Job) -> None:
    _, record = METHODS.create("skd", steps=2, rate=math.inf, prompts=6, batch=4)(tiny_v, job)
    assert record.rolled_back


def test_who_watches_can_end_a_repair(tiny_v: Subject, job: Job) -> None:
    seen = []

    def watch(step: int, student: Subject, seconds: float) -> bool:
        seen.append(step)
        return step == 2

    part = METHODS.create("clean-finetune", steps=5, batch=4, prompts=4, harm_limit=math.inf)
    _, record = part(tiny_v, job, watch)
    assert seen == [1, 2]
    assert record.steps == 2


def test_near_names_are_suggested() -> None:
    with pytest.raises(UsageError, match="'clean-finetune'"):
        METHODS.create("clean-finetune2")
    with pytest.raises(UsageError, match="'steps'"):
        METHODS.create("sau", stebs=3)


def test_numbers_of_a_group_stand_in_the_record_one_by_one() -> None:
    parameters = part_of(METHODS.create("sau", text=TextUnlearning(left=0.5))).parameters
    assert parameters["text.left"] == 0.5
    assert parameters["allowed.most"] == 0.06
