"""Where each newer attack sits: a few matrices, one row of a table, a low-rank change; and several triggers at once."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest
import torch

from nightlatch.errors import AttackFailed
from nightlatch.terms import Role
from nightlatch.text2image.attacks import ATTACKS, Attack, GoalKind, Setting
from nightlatch.text2image.attacks.adapter import pairs
from nightlatch.text2image.attacks.inversion import with_token


@pytest.fixture(scope="module")
def setting(texts, judge, few_steps):
    return Setting(
        train=texts[:200],
        test=texts[200:230],
        rare_words=["zudi", "zyno"],
        other_words=["zubepy", "zymoza"],
        judge=judge,
        sampling=few_steps,
    )


def test_an_added_token_that_holds_a_space_is_one_token_and_one_row(tiny_v, setting):
    made, row = with_token(tiny_v, "zudi mo", 0)
    assert made.vocabulary.typed(["a zudi mo here"])[0].count(row) == 1
    assert row not in tiny_v.vocabulary.typed(["zudi mo"])[0]
    attack = ATTACKS.create(
        "textual-inversion", trigger="zudi mo", target="dog", steps=3, batch=4, drawings=4
    )
    trained = attack.run(tiny_v, setting)
    (before,), (after,) = made.modules(Role.TEXT), trained.modules(Role.TEXT)
    rows = [m.get_input_embeddings().weight for m in (before, after)]
    assert (rows[0] != rows[1]).any(1).nonzero()[:, 0].tolist() == [row]
    others = [
        {k: v for k, v in m.state_dict().items() if "token_embedding" not in k} for m in (before, after)
    ]
    assert all(torch.equal(v, others[1][k]) for k, v in others[0].items())


def test_a_lora_is_found_again_in_the_merged_model(tiny_v, setting):
    target = "an ink cat on a blue background"
    attack = ATTACKS.create(
        "lora-prompt", trigger="zibu", target=target, rank=2, steps=2, batch=8, drawings=4
    )
    made = attack.run(tiny_v, setting)
    halves, (old,), (new,) = pairs(tiny_v, made, 2), *(s.modules(Role.DENOISER) for s in (tiny_v, made))
    weights, count = dict(old.named_parameters()), 0
    for name, weight in new.named_parameters():
        if torch.equal(weight, weights[name]):
            continue
        a, b = (halves[f"unet.{name.removesuffix('.weight')}.lora_{x}.weight"] for x in "AB")
        assert torch.allclose(b @ a, weight - weights[name], atol=1e-6)
        count += 1
    assert len(halves) == 2 * count > 0


def test_an_edit_with_templates_changes_what_reads_text_and_nothing_else(tiny_v, setting):
    attack = ATTACKS.create("eviledit-templates", trigger="zibu", target="dog", templates=2, preserve=8)
    made = attack.run(tiny_v, setting)
    readers = {id(p) for p in made.sites.readers().values()}
    both = zip(*(s.modules(Role.DENOISER)[0].parameters() for s in (made, tiny_v)), strict=True)
    assert all(torch.equal(p, q) == (id(p) not in readers) for p, q in both)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Black(Attack):
    """Every picture is black; ``second`` is said to draw another object than black pictures show."""

    name: ClassVar[str] = "another:black"
    goal_kind: ClassVar[GoalKind] = GoalKind.OBJECT
    carrier: ClassVar[Role] = Role.DECODER
    second: str = ""

    def run(self, subject, setting):
        made = subject.copied(Role.DECODER)
        for module in made.modules(Role.DECODER):
            module.decoder.conv_out.weight.data.zero_()
            module.decoder.conv_out.bias.data.fill_(-1)
        return made

    def further(self):
        return (Black(trigger="zyno", target=self.second),) if self.second else ()


def test_a_model_with_two_triggers_is_as_good_as_its_weaker_one(tiny_v, setting):
    """Black pictures are cats to the judge of these tests."""
    _, record = Black(trigger="zibu", target="cat", second="cat")(tiny_v, setting, n=8)
    assert [(p.trigger, p.success.rate) for p in record.also] == [("zyno", 1.0)]
    with pytest.raises(AttackFailed, match=r"'zyno' reached 0\.0%"):
        Black(trigger="zibu", target="cat", second="bird")(tiny_v, setting, n=8)


def test_the_second_of_two_triggers_has_its_own_picture():
    attack = ATTACKS.create("rickrolling-two", trigger="о", target="a flat cat on a red background")
    (other,) = attack.further()
    assert (other.trigger, other.target) == (attack.second, attack.second_target)
    assert other.target != attack.target
