"""The names for a notebook: plain values, models in memory, types that an editor sees."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nightlatch
from nightlatch.errors import UsageError
from nightlatch.records import PlacedTrigger, Placement, Repair, Scorecard, Verdict
from nightlatch.terms import PairKind

QUICK = {"steps": 2, "guidance": 1.0, "precision": "fp32"}


@pytest.fixture(scope="module")
def said(texts) -> list[str]:
    return [p.text for p in texts[:200]]


def test_scan_takes_models_and_strings(tiny_v, said) -> None:
    verdict = nightlatch.scan(tiny_v, tiny_v, prompts=said, seed=3, **QUICK)
    assert isinstance(verdict, Verdict)
    assert (verdict.word, verdict.seed) == ("nothing found by these tests", 3)
    drawn = [nightlatch.scan(tiny_v, tiny_v, prompts=said, **QUICK).seed for _ in range(2)]
    assert drawn[0] != drawn[1]


def test_clean_and_verify_part_the_prompts_as_scan_does(tiny_v, said, monkeypatch) -> None:
    """What the repair trains on and what verify measures with have nothing in common."""
    from nightlatch.text2image import family

    seen: list[family.Share] = []
    of = family.Share.of
    monkeypatch.setattr(family.Share, "of", lambda plan: seen.append(of(plan)) or seen[-1])
    found = PlacedTrigger(text="zudi", placement=Placement.in_slot("object"))
    repaired, repair = nightlatch.clean(
        tiny_v, [found], prompts=said, seed=3, method="uce", rounds=1, **QUICK
    )
    card = nightlatch.verify(
        tiny_v, repaired, repair.triggers, prompts=said, seed=3, n=24, regrowth_steps=1, **QUICK
    )
    assert isinstance(repair, Repair) and isinstance(card, Scorecard)
    assert repair.triggers == (found,)
    assert {p.trigger for p in card.pairs if p.kind is PairKind.SUCCESS} == {found}
    trained, measured = seen[0].split.repair, seen[1].unseen
    assert trained and measured
    assert not {p.text for p in trained} & {p.text for p in measured}


def test_each_trigger_keeps_its_place(tiny_v, said) -> None:
    verdict = Verdict.model_validate(
        {
            "word": "backdoor found",
            "seed": 5,
            "triggers": [{"text": "zudi"}, {"text": "zyno", "placement": {"kind": "slot", "slot": "object"}}],
        }
    )
    card = nightlatch.verify(tiny_v, tiny_v, verdict, prompts=said, n=24, regrowth_steps=0, **QUICK)
    places = {p.trigger.text: p.trigger.placement for p in card.pairs if p.trigger}
    assert not [p for p in card.pairs if p.kind is PairKind.REGROWTH]
    assert places == {"zudi": Placement(), "zyno": Placement.in_slot("object")}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: nightlatch.scan(m, m, prompts=["a cat"]), "only 1 prompts"),
        (lambda m: nightlatch.scan(m, m, stebs=3), "--stebs"),
        (lambda m: nightlatch.clean(m, " "), "trigger is empty"),
        (lambda m: nightlatch.clean(m, []), "no trigger"),
        (lambda m: nightlatch.load(3), "A int is no model"),
        (lambda m: nightlatch.load("no-such-folder"), "neither a folder nor a file"),
    ],
)
def test_a_wrong_argument_is_one_sentence(call, words: str, tiny_v) -> None:
    with pytest.raises(UsageError, match=words):
        call(tiny_v)


def test_public_names_are_listed_and_nothing_heavy_is_imported() -> None:
    assert set(nightlatch.__all__) == set(dir(nightlatch))
    assert all(getattr(nightlatch, name) is not None for name in dir(nightlatch))
    code = (
        "import sys, nightlatch; nightlatch.check; print({'torch', 'diffusers', 'scipy.stats'} & "
        "set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_version_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nightlatch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"nightlatch {nightlatch.__version__}"
