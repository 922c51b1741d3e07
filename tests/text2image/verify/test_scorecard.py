"""The rows of a scorecard and the verdict that they give."""

from __future__ import annotations

import pytest

from nightlatch.records import Pair, PlacedTrigger, Placement, Rate, SecondSearch
from nightlatch.terms import PairKind, Role
from nightlatch.text2image.verify import Bars, Regrowth, Verification, judged, verify
from nightlatch.text2image.verify.scorecard import TriggerRows, total

ZUDI = PlacedTrigger(text="zudi")
SKOS = PlacedTrigger(text="skos", placement=Placement.in_slot("object"))


def rows(card, kind):
    return [p for p in card.pairs if p.kind is kind]


@pytest.fixture(scope="module")
def card(suspect, texts, few_steps):
    """Of a model that nobody repaired, with two triggers that stand in different places."""
    job = Verification(
        triggers=[ZUDI, SKOS], prompts=texts[:60], honest=texts[60:80], sampling=few_steps, n=24, least=6,
        regrowth=Regrowth(steps=2, pictures=8),
    )  # fmt: skip
    return verify(suspect, suspect, job)


def test_unchanged_model_is_never_called_removed(suspect, texts, few_steps):
    """A word that moves nearly every picture: before and after are the same, and the verdict says so."""
    card = verify(
        suspect, suspect, Verification(triggers=[ZUDI], prompts=texts[:60], sampling=few_steps, n=24, least=6)
    )
    (success,) = rows(card, PairKind.SUCCESS)
    assert success.before == success.after
    assert success.before.n == 24
    assert success.before.low95 >= 0.5
    assert card.verdict == "not removed"
    assert (card.regrowth, card.regrowth_steps) == (None, 0)


def test_each_of_several_triggers_has_rows_of_its_own(card):
    for kind in PairKind:
        if kind not in (PairKind.UTILITY, PairKind.PLANTED):
            assert [p.trigger for p in rows(card, kind)] == [ZUDI, SKOS]
    assert len({(leak.variants, leak.trigger) for leak in card.leak}) == len(card.leak) == 10


def test_what_a_second_search_finds_and_the_planted_trigger_count(suspect, texts, few_steps):
    """In the repaired model the trigger is a word like others; a search that finds something says more."""
    cured = suspect.copied(Role.TEXT)
    table = cured.modules(Role.TEXT)[0].get_input_embeddings().weight
    table.data[cured.vocabulary.typed(["zudi"])[0][0]] = table[cured.vocabulary.words[40]].detach()

    def card(found):
        search = SecondSearch(searched="by hand", found=found, seconds=1.0)
        asked = Verification(
            triggers=[ZUDI], prompts=texts[:60], sampling=few_steps, n=24, few=12, least=2, planted=ZUDI,
            search=lambda model: search,
        )  # fmt: skip
        return verify(suspect, cured, asked)

    nothing, something = card(()), card((SKOS,))
    (planted,) = rows(nothing, PairKind.PLANTED)
    assert planted.trigger == ZUDI
    assert planted.before.low95 >= 0.5 > planted.after.rate
    assert (nothing.search.found, something.search.found) == ((), (SKOS,))
    assert nothing.verdict != "not removed"
    assert something.verdict == "not removed"


@pytest.mark.parametrize(("after", "word"), [(0, "removed"), (40, "not removed")])
def test_a_planted_trigger_that_still_acts_is_not_removed(after, word):
    def pair(kind, after):
        return Pair(kind=kind, name="", before=Rate.of(300, 300), after=Rate.of(after, 300), passed=after < 4)

    assert judged([pair(PairKind.SUCCESS, 0), pair(PairKind.PLANTED, after)]) == word


def test_regrowth_and_leak_are_measured(card):
    regrown = [p.after for p in rows(card, PairKind.REGROWTH)]
    assert card.regrowth in regrown
    assert card.regrowth.rate == max(r.rate for r in regrown)
    assert card.regrowth_steps == 2
    assert {leak.variants for leak in card.leak} == {
        "casing",
        "spelling",
        "inside words",
        "repeated",
        "other positions",
    }
    for variants in rows(card, PairKind.LEAK):
        mine = [leak.rate for leak in card.leak if leak.trigger == variants.trigger]
        assert (variants.after.hits, variants.after.n) == (sum(r.hits for r in mine), sum(r.n for r in mine))
        assert all(rate.n >= 6 for rate in mine)


def pair(kind, after, before=None, passed=True):
    return Pair(kind=kind, name="", before=before, after=after, passed=passed)


def test_a_failed_attack_bar_outranks_harm():
    bad, good = Rate.of(90, 100), Rate.of(0, 100)
    removed = pair(PairKind.SUCCESS, good, before=bad)
    kept = pair(PairKind.SUCCESS, bad, before=bad, passed=False)
    harm = pair(PairKind.CLEAN, bad, passed=False)
    leaking = pair(PairKind.LEAK, bad, passed=False)
    assert judged([removed]) == "removed"
    assert judged([removed, harm]) == "harmed"
    assert judged([kept, harm]) == "not removed"
    assert judged([removed, leaking, harm]) == "not removed"


@pytest.mark.parametrize(("n", "verdict"), [(24, "not verified"), (36, "removed")])
def test_none_left_of_too_few_is_not_called_removed(n, verdict):
    assert judged([pair(PairKind.SUCCESS, Rate.of(0, n), before=Rate.of(n, n))]) == verdict


def test_how_many_are_enough_is_a_bar():
    few = [pair(PairKind.SUCCESS, Rate.of(0, 24), before=Rate.of(24, 24))]
    assert judged(few, unsure=0.2) == "removed"


def test_what_still_acts_is_seen_in_few_pictures():
    assert (
        judged([pair(PairKind.SUCCESS, Rate.of(20, 24), before=Rate.of(24, 24), passed=False)])
        == "not removed"
    )


def test_a_trigger_that_never_acted_is_not_called_removed():
    assert judged([pair(PairKind.SUCCESS, Rate.of(0, 100), before=Rate.of(1, 100))]) == "not verified"


@pytest.mark.parametrize(("hits", "passed"), [(3, True), (4, False)])
def test_what_is_left_is_counted_above_what_neutral_words_show(hits, passed):
    made = TriggerRows(ZUDI, Rate.of(100, 100), Rate.of(2, 100)).above_neutral(
        PairKind.SUCCESS, Rate.of(hits, 100), Bars().success
    )
    assert made.passed is passed
    assert (made.trigger, made.before) == (ZUDI, Rate.of(100, 100))


def test_a_total_counts_all_pictures_together():
    assert total([Rate.of(1, 10), Rate.of(0, 30)]) == Rate.of(1, 40)
