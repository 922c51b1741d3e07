"""The stages of scan on a real small model with a planted change."""

from __future__ import annotations

import pytest
import torch

from nightlatch.records import Candidate, Placement, Rate, Trigger
from nightlatch.terms import ChangePattern, Effect
from nightlatch.text2image.prompts import slot_words
from nightlatch.text2image.scan import Budget, scan
from nightlatch.text2image.scan.candidates import words_of_one_token
from nightlatch.text2image.scan.confirm import Confirmation, Confirmed
from nightlatch.text2image.scan.fingerprint import changed_components, effective_rank, fingerprint
from nightlatch.text2image.scan.influence import Influence
from nightlatch.text2image.scan.pipeline import Sighting, acting, conclude

QUICK = Budget(contexts=2, keep=8, confirm=2, pictures=8)


def test_identical_models_are_not_accused(tiny_v, texts, few_steps):
    verdict = scan(tiny_v, tiny_v, texts, few_steps, QUICK, say=lambda line: None)
    assert verdict.word == "nothing found by these tests"
    assert verdict.triggers == ()
    assert verdict.tested
    assert verdict.not_tested


@pytest.mark.parametrize("saved", [(torch.half,), (torch.bfloat16,), (torch.half, torch.bfloat16), (torch.bfloat16, torch.half)])
def test_saving_in_half_precision_is_not_a_change(tiny_v, saved):
    suspect = tiny_v.copy("unet")
    for dtype in saved:
        suspect.unet.to(dtype)
    suspect.unet.float()
    assert changed_components(fingerprint(suspect, tiny_v)) == ()


def test_what_was_trained_within_the_distance_of_rounding_is_a_change(tiny_v):
    """Every weight as near as saving could have brought it, and none where saving brings it."""
    suspect = tiny_v.copy("text_encoder")
    rows = suspect.text_encoder.get_input_embeddings().weight
    rows.data[700] *= 1 + 2.0**-9
    assert changed_components(fingerprint(suspect, tiny_v)) == ("text_encoder",)


def test_one_changed_row_of_many_is_a_change(tiny_v):
    """A norm over the whole table would hide it."""
    suspect = tiny_v.copy("text_encoder")
    suspect.text_encoder.get_input_embeddings().weight.data[700] *= 1.02
    (row,) = (r for r in fingerprint(suspect, tiny_v) if r.component == "text_encoder")
    assert row.changed == 1
    assert row.relative_norm < 1e-3


def test_a_model_with_another_decoder_only_is_scanned(tiny_v, texts, few_steps):
    suspect = tiny_v.copy("vae")
    suspect.vae.decoder.conv_out.weight.data.mul_(1.5)
    verdict = scan(suspect, tiny_v, texts, few_steps, QUICK, say=lambda line: None)
    assert verdict.word == "nothing found by these tests"
    assert any("decoder" in line for line in verdict.not_tested)


def test_fingerprint_names_the_carrier_and_its_pattern(tiny_v, loud_token):
    rows = {r.component: r for r in fingerprint(loud_token, tiny_v)}
    assert changed_components(tuple(rows.values())) == ("text_encoder",)
    assert rows["text_encoder"].changed == 1
    assert rows["text_encoder"].pattern is ChangePattern.TOKEN_EMBEDDINGS


@pytest.mark.parametrize("rank", [1, 3])
def test_effective_rank_counts_equal_directions(rank):
    q, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(1)))
    assert effective_rank(q[:, :rank] @ q[:rank]) == pytest.approx(rank, rel=1e-3)


def test_scan_is_repeatable(tiny_v, loud_token, texts, few_steps):
    runs = [scan(loud_token, tiny_v, texts, few_steps, QUICK, say=lambda line: None) for _ in range(2)]
    assert runs[0].model_copy(update={"seconds": 0.0}) == runs[1].model_copy(update={"seconds": 0.0})


def test_of_two_changed_components_the_one_that_acts_is_the_carrier(tiny_v, loud_token, texts, few_steps):
    """A text encoder with a trigger in it beside a denoiser that was only trained a little."""
    suspect = loud_token.copy("unet")
    for weight in suspect.unet.parameters():
        weight.data.mul_(1.001)
    made = Confirmation(suspect, tiny_v, texts[:16], ["mountain", "people"], slot_words(texts), few_steps, 0)
    trigger = Trigger(text="zudi", code_points=(), token_ids=(), tokens=())
    assert acting(made, trigger, ("text_encoder", "unet"), QUICK) == ("text_encoder",)
    assert acting(made, trigger, ("unet", "vae"), QUICK) == ("unet",)


def test_word_that_stands_for_a_known_object_is_told_from_one_that_does_not(tiny_v, texts):
    """A word whose embedding is a known object's is an alias of it; the base gives it a meaning of its own."""
    suspect = tiny_v.copy("text_encoder")
    rows = suspect.text_encoder.get_input_embeddings().weight
    alias, cat = words_of_one_token(suspect, ["zudi", "cat"])
    rows.data[alias] = rows.data[cat]
    influence = Influence(suspect, tiny_v, texts[:12], slot_words(texts), 0)
    assert influence.aliases("zudi", "object")
    assert not influence.aliases("mountain", "object")
    assert not influence.aliases("cat", "object")


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
def test_of_strings_that_change_as_many_pictures_the_one_of_fewest_tokens_is_named_then_the_one_that_moves_most(
    other, hits, named, tiny_v
):
    score = 9.0 if " " in other else 1.0
    seen = [
        Sighting(Candidate(text=text, score=score, robust_z=1.0), Placement(), Confirmed(Rate.of(k, 60), Effect.SHIFT, True))
        for text, score, k in ((other, score, hits), ("zudi", 2.0, 48))
    ]
    triggers, word = conclude(tiny_v, seen, lambda found: found)
    assert word == "backdoor found"
    assert triggers[0].text == named
    assert set(triggers[0].rivals) == {"zudi", other} - {named}
