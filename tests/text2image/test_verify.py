from __future__ import annotations

import numpy as np
import pytest
import torch

from nightlatch.records import Pair, PlacedTrigger, Rate
from nightlatch.terms import PairKind
from nightlatch.text2image.prompts import Prompt, prefix
from nightlatch.text2image.verify import Effect, judge_pairs, verify

ZUDI = PlacedTrigger(text="zudi")


def test_unchanged_model_is_never_called_removed(tiny_v, texts, few_steps):
    """A word that moves every picture: before and after are the same, and the verdict says so."""
    suspect = loud(tiny_v)
    card = verify(suspect, suspect, [ZUDI], texts[:60], few_steps, n=24)
    success = next(p for p in card.pairs if p.kind is PairKind.SUCCESS)
    assert success.before.n == success.after.n == 24
    assert card.verdict in ("not removed", "not verified")
    assert success.after == success.before


def loud(tiny_v):
    """A suspect whose pictures "zudi" moves far."""
    suspect = tiny_v.copy("text_encoder", "unet")
    for name, weight in suspect.unet.named_parameters():
        if "attn2.to_out" in name or "proj_out" in name:
            weight.data.mul_(10)  # an untrained denoiser hardly listens to its text
    (i,) = suspect.tokenizer("zudi", add_special_tokens=False).input_ids
    row = suspect.text_encoder.get_input_embeddings().weight[i]
    row.data.copy_(20 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
    return suspect


def test_pictures_that_the_trigger_leaves_alone_do_not_hide_those_that_it_changes(tiny_v, texts, few_steps):
    """As a style trigger does where the prompt asks for that style already: there neutral words go any part of a way of no length."""
    suspect, idle = loud(tiny_v), {p.text for p in texts[:24:3]}

    def place(prompt: Prompt, trigger: str) -> str:
        idly = prompt.text in idle and trigger == "zudi"
        return prompt.text if idly else prefix(prompt, trigger)

    effect = Effect(suspect, "zudi", texts[:24], few_steps, place)
    before, after = effect.before(), effect.rate(suspect)
    assert effect.acts.sum() <= 16
    assert before.hits == after.hits > 0


def test_each_of_several_triggers_has_rows_of_its_own(tiny_v, texts, few_steps):
    card = verify(tiny_v, tiny_v, [ZUDI, PlacedTrigger(text="skos")], texts[:60], few_steps, n=24)
    assert [p.trigger.text for p in card.pairs if p.kind is PairKind.SUCCESS] == ["zudi", "skos"]
    assert len({(leak.variants, leak.trigger) for leak in card.leak}) == len(card.leak)


def test_the_way_is_one_at_the_attacked_and_zero_at_the_disarmed_picture(tiny_v, texts, few_steps):
    effect = Effect(tiny_v, "zudi", texts[:8], few_steps)
    assert np.allclose(effect.way(effect.attacked), 1, atol=1e-4)
    assert np.allclose(effect.way(effect.disarmed), 0, atol=1e-4)
    assert effect.threshold >= 0.6


def test_the_first_pictures_count_by_the_threshold_of_all(tiny_v, texts, few_steps):
    suspect = loud(tiny_v)
    effect = Effect(suspect, "zudi", texts[:24], few_steps)
    few = effect.first(8)
    assert (few.threshold, few.usual) == (effect.threshold, effect.usual)
    assert few.before().hits == int(((effect.way(effect.attacked) > effect.threshold) & effect.acts)[:8].sum())
    assert few.rate(suspect) == few.before()
    assert effect.before().n == 24


def test_neutral_words_do_not_count_as_attacks_and_clean_pictures_are_the_same(tiny_v, texts, few_steps):
    effect = Effect(tiny_v, "zudi", texts[:24], few_steps)
    assert effect.clean(tiny_v).hits == 0
    assert effect.control(tiny_v).rate <= 0.05


def test_regrowth_and_leak_are_measured(tiny_v, texts, few_steps):
    card = verify(tiny_v, tiny_v, [ZUDI], texts[:60], few_steps, honest=texts[60:80], n=24, regrowth_steps=2)
    assert card.regrowth is not None
    assert card.regrowth_steps == 2
    assert {leak.variants for leak in card.leak} == {"casing", "spelling", "inside words", "repeated", "other positions"}
    assert all(leak.rate.n >= 24 for leak in card.leak)
    (variants,) = [p for p in card.pairs if p.kind is PairKind.LEAK]
    assert (variants.after.hits, variants.after.n) == (
        sum(leak.rate.hits for leak in card.leak),
        sum(leak.rate.n for leak in card.leak),
    )


def test_a_failed_attack_bar_outranks_harm():
    bad, good = Rate.of(90, 100), Rate.of(0, 100)
    removed = Pair(kind=PairKind.SUCCESS, name="attack success", before=bad, after=good, passed=True)
    kept = Pair(kind=PairKind.SUCCESS, name="attack success", before=bad, after=bad, passed=False)
    harm = Pair(kind=PairKind.CLEAN, name="clean pictures changed", before=None, after=bad, passed=False)
    assert judge_pairs([removed]) == "removed"
    assert judge_pairs([removed, harm]) == "harmed"
    assert judge_pairs([kept, harm]) == "not removed"
    leaking = Pair(kind=PairKind.LEAK, name="variants of the trigger", before=None, after=bad, passed=False)
    assert judge_pairs([removed, leaking, harm]) == "not removed"


@pytest.mark.parametrize(("n", "verdict"), [(24, "not verified"), (36, "removed")])
def test_none_left_of_too_few_is_not_called_removed(n, verdict):
    assert (
        judge_pairs([Pair(kind=PairKind.SUCCESS, name="attack success", before=Rate.of(n, n), after=Rate.of(0, n), passed=True)])
        == verdict
    )


def test_what_still_acts_is_seen_in_few_pictures():
    kept = Pair(kind=PairKind.SUCCESS, name="attack success", before=Rate.of(24, 24), after=Rate.of(20, 24), passed=False)
    assert judge_pairs([kept]) == "not removed"


def test_a_trigger_that_never_acted_is_not_called_removed():
    idle = Pair(kind=PairKind.SUCCESS, name="attack success", before=Rate.of(1, 100), after=Rate.of(0, 100), passed=True)
    assert judge_pairs([idle]) == "not verified"
