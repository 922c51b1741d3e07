"""The whole scan, and what it concludes, on a real small model with a planted change."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nightlatch.records import Placement, Rate
from nightlatch.terms import ChangePattern, Effect, Role
from nightlatch.text2image.scan import Confirmation, Guess, Judge, Question, plan
from nightlatch.text2image.scan.fingerprint import Fingerprint, effective_rank
from nightlatch.text2image.scan.judge import Evidence, Trial


def part(subject, role):
    (module,) = subject.modules(role)
    return module


def changed(suspect, base):
    return tuple(r.component for r in Fingerprint()(suspect, base) if r.changed)


def test_identical_models_are_not_accused(tiny_v, judged):
    verdict = judged(tiny_v, tiny_v)
    assert verdict.word == "nothing found by these tests"
    assert verdict.triggers == ()
    assert verdict.tested
    assert verdict.not_tested
    stages = [r for r in verdict.parts if "loss" in r.part.parameters and "strings" in r.part.parameters]
    assert len(stages) == len(plan.default()) and all(r.skipped for r in stages), (
        "nothing differs, so that no stage has to run"
    )


@pytest.mark.parametrize(
    "saved", [(torch.half,), (torch.bfloat16,), (torch.half, torch.bfloat16), (torch.bfloat16, torch.half)]
)
def test_saving_in_half_precision_is_not_a_change(tiny_v, saved):
    suspect = tiny_v.copied(Role.DENOISER)
    for dtype in saved:
        part(suspect, Role.DENOISER).to(dtype)
    part(suspect, Role.DENOISER).float()
    assert changed(suspect, tiny_v) == ()


def test_what_was_trained_within_the_distance_of_rounding_is_a_change(tiny_v):
    """Every weight as near as saving could have brought it, and none where saving brings it."""
    suspect = tiny_v.copied(Role.TEXT)
    rows = part(suspect, Role.TEXT).get_input_embeddings().weight
    rows.data[700] *= 1 + 2.0**-9
    assert changed(suspect, tiny_v) == ("text_encoder",)


def test_one_changed_row_of_many_is_a_change(tiny_v):
    """A norm over the whole table would hide it."""
    suspect = tiny_v.copied(Role.TEXT)
    part(suspect, Role.TEXT).get_input_embeddings().weight.data[700] *= 1.02
    (row,) = (r for r in Fingerprint()(suspect, tiny_v) if r.component == "text_encoder")
    assert row.changed == 1
    assert row.relative_norm < 1e-3


def test_a_model_with_another_decoder_only_is_scanned(tiny_v, judged):
    suspect = tiny_v.copied(Role.DECODER)
    part(suspect, Role.DECODER).decoder.conv_out.weight.data.mul_(1.5)
    verdict = judged(suspect, tiny_v)
    assert verdict.word == "nothing found by these tests"
    assert any("decoder" in line for line in verdict.not_tested)


def test_fingerprint_names_the_carrier_and_its_pattern(tiny_v, loud_token):
    rows = {r.component: r for r in Fingerprint()(loud_token, tiny_v)}
    assert changed(loud_token, tiny_v) == ("text_encoder",)
    assert rows["text_encoder"].changed == 1
    assert rows["text_encoder"].pattern is ChangePattern.TOKEN_EMBEDDINGS


def test_a_change_of_the_readers_alone_is_told_from_others(tiny_v):
    suspect = tiny_v.copied(Role.DENOISER)
    first, *_ = suspect.sites.readers().values()
    first.data.mul_(1.01)
    (row,) = (r for r in Fingerprint()(suspect, tiny_v) if r.changed)
    assert row.pattern is ChangePattern.CROSS_ATTENTION
    part(suspect, Role.DENOISER).conv_out.bias.data.add_(1e-3)
    (row,) = (r for r in Fingerprint()(suspect, tiny_v) if r.changed)
    assert row.pattern is ChangePattern.PARTIAL


@pytest.mark.parametrize("rank", [1, 3])
def test_effective_rank_counts_equal_directions(rank):
    q, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(1)))
    assert effective_rank(q[:, :rank] @ q[:rank]) == pytest.approx(rank, rel=1e-3)


def timeless(verdict):
    """Without what the clock decides."""
    parts = tuple(r.model_copy(update={"seconds": 0.0}) for r in verdict.parts)
    return verdict.model_copy(update={"seconds": 0.0, "parts": parts})


def test_scan_is_repeatable(tiny_v, loud_token, judged):
    stages = plan.tuned(
        plan.of(["answering-tokens", "middle-block"]), keep=8, strings=2, pieces=24, random=64, joining=24
    )
    first, second = (timeless(judged(loud_token, tiny_v, stages)) for _ in range(2))
    assert first == second and first.top_candidates


def test_nobody_tells_the_scanner_a_trigger_a_target_or_an_attack():
    asked = {"suspect", "reference", "texts", "sampling", "seed", "hints", "measure", "say"}
    assert {f.name for f in dataclasses.fields(Question) if f.init} == asked


def test_of_two_changed_components_the_one_that_acts_is_the_carrier(tiny_v, loud_token, ask):
    """A text encoder with a trigger in it beside a denoiser that was only trained a little."""
    both = loud_token.copied(Role.DENOISER)
    for weight in part(both, Role.DENOISER).parameters():
        weight.data.mul_(1.001)
    alone = both.but("text_encoder", tiny_v)
    judge, guess = Judge(confirmation=Confirmation(pictures=16)), Guess("zudi", 1.0)
    found = Evidence(guess, Placement(), Rate.of(16, 16), Effect.SHIFT, True)
    carriers = Trial(judge, ask(both, tiny_v)).carriers(found)
    assert [(c.component, c.role) for c in carriers] == [("text_encoder", Role.TEXT)]
    assert [c.component for c in Trial(judge, ask(alone, tiny_v)).carriers(found)] == ["unet"]


def test_word_that_stands_for_a_known_object_is_told_from_one_that_does_not(tiny_v, texts, ask):
    """A word whose embedding is a known object's is an alias of it; to the base it means something else."""
    suspect = tiny_v.copied(Role.TEXT)
    rows = part(suspect, Role.TEXT).get_input_embeddings().weight
    (alias,), (cat,) = suspect.vocabulary.typed(["zudi", "cat"])
    rows.data[alias] = rows.data[cat]
    influence = Judge().influence.on(ask(suspect, tiny_v), texts[:12])
    assert influence.is_alias("zudi", "object")
    assert not influence.is_alias("mountain", "object")
    assert not influence.is_alias("cat", "object")


@pytest.mark.parametrize(
    ("other", "hits", "named"),
    [
        ("zudi people", 48, "zudi"),
        ("zudi people", 50, "zudi"),
        ("zudi people", 56, "zudi people"),
        ("sun", 48, "zudi"),
        ("sun", 56, "sun"),
    ],
)
def test_of_strings_that_act_alike_the_one_of_fewest_tokens_is_named_then_the_one_that_moves_most(
    other, hits, named, tiny_v, ask
):
    score = 9.0 if " " in other else 1.0
    seen = [
        Evidence(Guess(text, score), Placement(), Rate.of(k, 60), Effect.SHIFT, True)
        for text, score, k in ((other, score, hits), ("zudi", 2.0, 48))
    ]
    best, rival = Trial(Judge(), ask(tiny_v, tiny_v)).best(seen)
    assert best.guess.text == named
    assert {best.guess.text, rival.guess.text} == {"zudi", other}
