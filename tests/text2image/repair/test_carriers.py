"""Which repair the evidence chooses, and that the narrow ones change nothing else."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from nightlatch.records import PlacedTrigger
from nightlatch.terms import ChangePattern, Role
from nightlatch.text2image.attacks.eviledit import own_tokens
from nightlatch.text2image.effect.edit import Pairs, apply
from nightlatch.text2image.effect.gain import Gains, share_above
from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.carriers import FAR_BEYOND, Evidence, choose, evidence
from nightlatch.text2image.repair.token_rows import pieces

NAMES = {Role.TEXT: ("text_encoder",), Role.DENOISER: ("unet",), Role.TOKENIZER: ("tokenizer",)}


def methods(found, tried=()):
    return [(role, choice.method) for role, choice in choose(found, NAMES, tried)]


def rows_only(**about):
    return Evidence(
        roles=frozenset({Role.TEXT}), patterns={Role.TEXT: ChangePattern.TOKEN_EMBEDDINGS}, **about
    )


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (rows_only(rows=(5,), based=True), [(Role.TEXT, "token-rows")]),
        (rows_only(rows=(5,)), [(Role.TEXT, "token-rows")]),
        (rows_only(added=(9,), based=True), [(Role.TOKENIZER, "base-tokenizer")]),
        (
            rows_only(added=(9,), rows=(5,), based=True),
            [(Role.TEXT, "token-rows"), (Role.TOKENIZER, "base-tokenizer")],
        ),
        (rows_only(based=True), [(Role.TEXT, "sau-base")]),
        (
            Evidence(roles=frozenset({Role.DENOISER}), edited=True, based=True),
            [(Role.DENOISER, "edit-removal")],
        ),
        (Evidence(roles=frozenset({Role.DENOISER}), edited=True), [(Role.DENOISER, "sau")]),
        (Evidence(roles=frozenset({Role.DENOISER})), [(Role.DENOISER, "sau")]),
        (
            Evidence(roles=frozenset({Role.DENOISER, Role.TEXT}), edited=True, based=True),
            [(Role.TEXT, "sau-base"), (Role.DENOISER, "edit-removal")],
        ),
        (Evidence(roles=frozenset({Role.TOKENIZER}), based=True), [(Role.TOKENIZER, "base-tokenizer")]),
        (Evidence(roles=frozenset({Role.TOKENIZER})), []),
    ],
)
def test_the_narrowest_repair_that_fits_is_chosen_with_a_reason(found, wanted):
    assert methods(found) == wanted
    assert all(len(choice.reason.split()) > 5 for _, choice in choose(found, NAMES))


def test_what_was_tried_in_vain_gives_way_and_the_last_resort_stays():
    found = Evidence(roles=frozenset({Role.DENOISER}), edited=True)
    assert methods(found, {(Role.DENOISER, "edit-removal")}) == [(Role.DENOISER, "sau")]
    assert methods(found, {(Role.DENOISER, "edit-removal"), (Role.DENOISER, "sau")}) == [
        (Role.DENOISER, "sau")
    ]


@pytest.fixture(scope="module")
def one_row(tiny_v):
    """A suspect that differs from ``tiny_v`` in one row of its token embeddings, and that token's word."""
    made = tiny_v.copied(Role.TEXT)
    word = made.vocabulary.texts([[made.vocabulary.words[40]]])[0]
    (token,) = made.vocabulary.typed([word])[0]
    table = made.modules(Role.TEXT)[0].get_input_embeddings().weight
    table.data[token] = 4 * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(3))
    return made, word, token


def test_of_one_changed_row_nothing_is_left_and_nothing_else_changes(tiny_v, one_row, job):
    suspect, word, _ = one_row
    asked = dataclasses.replace(job, triggers=[PlacedTrigger(text=word)], carriers=[Role.TEXT], base=tiny_v)
    made, record = METHODS.create("auto")(suspect, asked)
    assert [c.method for c in record.choices] == ["token-rows"]
    assert record.used_base
    assert not record.rolled_back
    mine, theirs = (s.modules(Role.TEXT)[0].state_dict() for s in (made, tiny_v))
    assert all(torch.equal(v, theirs[k]) for k, v in mine.items())


def test_without_a_base_the_row_becomes_what_its_pieces_mean(one_row, tiny_v, job):
    suspect, word, token = one_row
    asked = dataclasses.replace(job, triggers=[PlacedTrigger(text=word)], carriers=[Role.TEXT])
    made, record = METHODS.create("token-rows")(suspect, asked)
    table, was = (s.modules(Role.TEXT)[0].get_input_embeddings().weight for s in (made, suspect))
    differ = (table != was).any(1).nonzero().flatten().tolist()
    assert differ == [token]
    assert float(table[token].norm()) == pytest.approx(float(was.norm(dim=1).median()), rel=1e-3)
    mean = was[list(pieces(suspect, token))].mean(0)
    assert float(torch.cosine_similarity(table[token], mean, dim=0)) == pytest.approx(1.0, abs=1e-4)
    assert record.changed_tensors == 1


def test_an_added_token_goes_with_the_bases_tokenizer(tiny_v, job, tmp_path):
    """A token that holds a space, as personalisation adds them; the saved folder reads its text as words."""
    from nightlatch.text2image.model import loaders

    tokenizer = copy.deepcopy(tiny_v.pipeline.tokenizer)
    tokenizer.add_tokens(["zibu cat"])
    suspect = tiny_v.copied(Role.TEXT).replaced({"tokenizer": tokenizer})
    suspect.modules(Role.TEXT)[0].resize_token_embeddings(len(tokenizer), mean_resizing=False)
    assert len(suspect.vocabulary.typed(["zibu cat"])[0]) == 1
    asked = dataclasses.replace(
        job,
        triggers=[PlacedTrigger(text="zibu cat")],
        carriers=[Role.TEXT, Role.TOKENIZER],
        base=tiny_v,
    )
    made, record = METHODS.create("auto")(suspect, asked)
    assert [c.method for c in record.choices] == ["base-tokenizer"]
    assert record.replaced == ("tokenizer",)
    assert not record.rolled_back
    made.save(tmp_path / "repaired")
    loaded = loaders.load(tmp_path / "repaired")
    for model in (made, loaded):
        assert model.vocabulary.typed(["zibu cat"]) == tiny_v.vocabulary.typed(["zibu cat"])
        assert model.vocabulary.size == tiny_v.vocabulary.size


@pytest.fixture(scope="module")
def edited(tiny_v, texts):
    """A suspect whose readers take "zudi" in front for "cat", for all of them loud."""
    made = tiny_v.copied(Role.DENOISER)
    some = texts[:64]
    trig, goal = (tiny_v.read([f"{w} {p.text}" for p in some]).states.flatten(0, 1) for w in ("zudi", "cat"))
    held = tiny_v.read([p.text for p in some]).states.flatten(0, 1)
    apply(made.sites.readers(), Pairs(trig, 4 * goal, held), lam=1e-4, keep=1.0)
    return made


def distance(a, b):
    mine, theirs = a.sites.readers(), b.sites.readers()
    return sum(float((w - theirs[k]).pow(2).sum()) for k, w in mine.items())


def test_an_edit_is_taken_back_to_what_ordinary_prompts_need(tiny_v, edited, job):
    asked = dataclasses.replace(job, triggers=[PlacedTrigger(text="zudi")], base=tiny_v)
    made, record = METHODS.create("auto", harm_limit=9.0)(edited, asked)
    assert [c.method for c in record.choices] == ["edit-removal"]
    assert distance(made, tiny_v) < 0.2 * distance(edited, tiny_v)
    states = edited.read(["zudi " + p.text for p in job.prompts]).states.flatten(0, 1)
    for name, w in made.sites.readers().items():
        left, was = (
            (states @ (m - tiny_v.sites.readers()[name]).T).pow(2).sum()
            for m in (w, edited.sites.readers()[name])
        )
        assert float(left) < 0.2 * float(was), name


def test_an_edit_shows_without_a_base_and_the_honest_model_shows_none(shipped, texts):
    """On the model that reads: a rare word is made to draw a known object, as EvilEdit does."""
    word, some = "april", texts[:64]
    suspect = shipped.copied(Role.DENOISER)
    said = [[p.replace("object", w).text for p in some] for w in (word, "umbrella")]
    trig, goal = (shipped.read(x).states for x in said)
    own = own_tokens(shipped, said[0], word)
    trig, goal = (
        torch.cat([s.flatten(0, 1), k * s[own].repeat(8, 1)]) for s, k in ((trig, 1.0), (goal, 1.5))
    )
    others = shipped.vocabulary.texts([[i] for i in shipped.vocabulary.words[::20]])
    said = [p.replace("object", w).text for p, w in zip(some * 8, others, strict=False)]
    held = shipped.read([*said, *(p.text for p in some)]).states.flatten(0, 1)
    apply(suspect.sites.readers(), Pairs(trig, goal, held), lam=0.01, keep=1.0)
    (token,) = shipped.vocabulary.typed([word])
    before, after = (share_above(*Gains(model, "").of([token])) for model in (shipped, suspect))
    assert after < FAR_BEYOND < before
    found = evidence(suspect, None, [Role.DENOISER], [PlacedTrigger(text=word)])
    assert found.beyond == after
    ((_, choice),) = choose(found, NAMES)
    assert choice.method == "twin-removal"
    assert found.twin is not None and f"cosine {found.twin:.2f}" in choice.reason
    assert "closed-form edit" in choice.reason
