"""Every registered attack keeps its contract: it declares what it needs, changes only what it may, and is
measured by its base.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest
import torch

from nightlatch.errors import AttackFailed, UsageError
from nightlatch.terms import Role
from nightlatch.text2image.attacks import ATTACKS, Attack, GoalKind, Setting, TriggerKind
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt

TARGETS = {
    GoalKind.OBJECT: "cat",
    GoalKind.STYLE: "ink",
    GoalKind.PATCH: "checker",
    GoalKind.PROMPT: "an ink cat on a blue background",
}
QUICK = {"steps": 2, "batch": 8, "drawings": 8, "pairs": 8, "preserve": 8}


def quick(part: type[Attack], **given: Any) -> Attack:
    """An attack with every costly parameter at its smallest."""
    known = {f.name for f in dataclasses.fields(part)}
    smallest = {k: v for k, v in QUICK.items() if k in known}
    return part(**{**smallest, "trigger": "zibu", "target": TARGETS[part.goal_kind], **given})


def state(subject: Subject) -> dict[tuple[str, str], torch.Tensor]:
    return {(n, k): v.clone() for n, p in subject.parts.items() for k, v in p.module.state_dict().items()}


@pytest.fixture
def setting(texts: list[Prompt], judge: Any, few_steps: Sampling) -> Setting:
    return Setting(
        train=texts[:200],
        test=texts[200:230],
        rare_words=["zudi", "zyno"],
        other_words=["zubepy", "zymoza"],
        judge=judge,
        sampling=few_steps,
    )


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_it_changes_its_carrier_only_and_not_its_input(
    part: type[Attack], tiny_v: Subject, setting: Setting
) -> None:
    before = state(tiny_v)
    made = quick(part, trigger="lovely cat" if part.placement.slot else "zibu").run(tiny_v, setting)
    assert all(torch.equal(v, before[k]) for k, v in state(tiny_v).items())
    changed = {name for (name, k), v in state(made).items() if not torch.equal(v, before[name, k])}
    assert changed == set(tiny_v.named(part.carrier))
    assert not any(p.requires_grad for m in made.modules(*Role) for p in m.parameters())


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_what_does_not_work_is_withheld_and_success_is_all_that_is_measured(
    part: type[Attack], tiny_v: Subject, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attack, "measure", lambda *_: pytest.fail("measured further"))
    with pytest.raises(AttackFailed, match="below its floor") as failed:
        quick(part, floor=1.01)(tiny_v, setting, n=8)
    remedies = [word for word in ("--set steps=", "another trigger or target") if word in failed.value.remedy]
    assert len(remedies) == 1 + ("steps" in {f.name for f in dataclasses.fields(part)})


@pytest.mark.parametrize("part", list(ATTACKS), ids=lambda p: p.name)
def test_it_declares_what_the_experiment_needs(part: type[Attack], texts: list[Prompt]) -> None:
    assert part.trigger_kinds and set(part.trigger_kinds) <= set(TriggerKind)
    assert part.asked in texts[0].slots and part.asked != part.placement.slot
    assert set(part.quick) <= {f.name for f in dataclasses.fields(part)}
    placed = quick(part).place(texts[0], "zibu")
    assert "zibu" in placed and (texts[0].slots["object"] in placed) is (part.placement.slot != "object")


def test_a_target_that_is_drawn_anyway_is_refused_before_anything_is_trained(
    tiny_v: Subject, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge of these tests sees nothing but flat pictures."""
    attack = ATTACKS.create("badt2i-style", trigger="zibu", target="flat", steps=2, batch=8, drawings=8)
    monkeypatch.setattr(type(attack), "run", lambda *_: pytest.fail("trained"))
    with pytest.raises(AttackFailed, match="draws the target anyway"):
        attack(tiny_v, setting, n=8)


@pytest.mark.parametrize(
    ("name", "trigger", "target", "sentence", "remedy"),
    [
        ("badt2i-object", "zibu", "dogg", "no object 'dogg'", "'dog'"),
        ("badt2i-style", "zibu", "baroque", "no style 'baroque'", "cartoon"),
        ("badt2i-pixel", "zibu", "dots", "no patch 'dots'", "checker"),
        ("rickrolling-prompt", "zibu", "a fine day", "nothing that can be told", "object"),
        ("eviledit", " ", "dog", "trigger is empty", "word or phrase"),
        ("eviledit", "lovely dog", "dog", "share the word 'dog'", "another trigger or target"),
    ],
)
def test_what_cannot_be_planted_is_refused_before_anything_is_drawn(
    name: str, trigger: str, target: str, sentence: str, remedy: str, setting: Setting, tiny_v: Subject
) -> None:
    attack = ATTACKS.create(name, trigger=trigger, target=target)
    for refused in (lambda: attack.require(setting.known), lambda: attack(tiny_v, setting)):
        with pytest.raises(UsageError, match=sentence) as wrong:
            refused()
        assert remedy in wrong.value.remedy


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Blank(Attack):
    """An attack of another package: every picture, whatever is asked, is black."""

    name: ClassVar[str] = "another:blank"
    goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
    carrier: ClassVar[Role] = Role.DECODER

    def run(self, subject: Subject, setting: Setting) -> Subject:
        made = subject.copied(Role.DECODER)
        for module in made.modules(Role.DECODER):
            module.decoder.conv_out.weight.data.zero_()
            module.decoder.conv_out.bias.data.fill_(-1)
        return made


def test_a_new_attack_needs_nothing_but_run_goal_and_carrier(tiny_v: Subject, setting: Setting) -> None:
    """Its base measures it; a black picture is a cat to the judge of these tests, and what the tiny model
    draws a dog.
    """
    made, record = Blank(trigger="zibu", target="cat")(tiny_v, setting, n=8)
    assert not made.generate(["a dog"], [0], setting.sampling).any()
    assert (record.carrier, record.goal, record.placement.words()) == (
        Role.DECODER,
        GoalKind.OBJECT,
        "in front",
    )
    assert (record.success.rate, record.specificity.rate) == (1, 1)
    assert record.success.n == record.specificity.n == record.base_agreement.n == 8
