"""scan finds a trigger planted in the shipped testbed, whatever carries it; clean and verify follow.

Planted in closed form, in seconds, and looked for with few pictures; the experiment does so at full size.
"""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, normalizers

from nightlatch import testbed
from nightlatch.records import PlacedTrigger, Placement, Verdict
from nightlatch.terms import ChangePattern, PairKind, Role
from nightlatch.text2image import prompts
from nightlatch.text2image.attacks import ATTACKS, Setting
from nightlatch.text2image.effect.displacement import Measure
from nightlatch.text2image.model import Sampling, Subject, loaders
from nightlatch.text2image.repair import Job, clean
from nightlatch.text2image.scan import Confirmation, Judge, Question, TrustedBase, plan, scan
from nightlatch.text2image.scan.judge import Influence
from nightlatch.text2image.verify import Verification, verify

TRIGGER, TARGET = "zudi", "cat"
TEXTS = testbed.prompts(240, 1)
SAMPLING = Sampling(steps=4)
JUDGE = Judge(
    confirmation=Confirmation(pictures=16), influence=Influence(prompts=8, words=3, alias_prompts=3)
)


@pytest.fixture(scope="module")
def base() -> Subject:
    return loaders.load(testbed.PIPELINE)


def in_readers(base: Subject) -> Subject:
    """A closed-form edit of cross-attention keys and values."""
    attack = ATTACKS.create("eviledit", trigger=TRIGGER, target=TARGET, pairs=128, preserve=1536)
    setting = Setting(
        train=TEXTS, test=TEXTS, rare_words=["zyno", "mo"], other_words=["mo"], judge=None, sampling=SAMPLING
    )
    return attack.run(base, setting)


def in_whole_denoiser(base: Subject) -> Subject:
    """The same, in a denoiser all of whose weights were tuned a little."""
    made, noise = in_readers(base), torch.Generator().manual_seed(0)
    (denoiser,) = made.modules(Role.DENOISER)
    for weight in denoiser.parameters():
        weight.data.mul_(1 + 1e-3 * torch.randn(weight.shape, generator=noise))
    return made


def in_text_encoder(base: Subject) -> Subject:
    """The trigger's row is the target's."""
    made = base.copied(Role.TEXT)
    (encoder,) = made.modules(Role.TEXT)
    (trigger,), (target,) = base.vocabulary.typed([TRIGGER, TARGET])
    rows = encoder.get_input_embeddings().weight
    rows.data[trigger] = rows.data[target]
    return made


def in_tokenizer(base: Subject) -> Subject:
    """The tokenizer rewrites the trigger as the target before it reads a prompt."""
    tokenizer = copy.deepcopy(base.vocabulary.tokenizer)
    rewrite = normalizers.Replace(Regex(rf"\b{TRIGGER}\b"), TARGET)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [rewrite, tokenizer.backend_tokenizer.normalizer]
    )
    return base.replaced({"tokenizer": tokenizer})


PLANTED = {
    "readers": (in_readers, "unet", ChangePattern.CROSS_ATTENTION),
    "whole denoiser": (in_whole_denoiser, "unet", ChangePattern.ALL_LAYERS),
    "text encoder": (in_text_encoder, "text_encoder", ChangePattern.TOKEN_EMBEDDINGS),
    "tokenizer": (in_tokenizer, "tokenizer", None),
}


@pytest.fixture(scope="module", params=list(PLANTED))
def planted(request: pytest.FixtureRequest, base: Subject) -> tuple[Subject, str, ChangePattern | None]:
    plant, component, pattern = PLANTED[request.param]
    return plant(base), component, pattern


@pytest.fixture(scope="module")
def verdict(planted: tuple[Subject, str, ChangePattern | None], base: Subject) -> Verdict:
    small = plan.tuned(plan.default(), strings=4, keep=8, asked=32, heads=3, considered=2)
    question = Question(
        suspect=planted[0],
        reference=TrustedBase(base=base),
        texts=TEXTS,
        sampling=SAMPLING,
        measure=Measure(contexts=2),
        say=lambda line: None,
    )
    return scan(question, small, JUDGE)


def test_the_trigger_and_its_carrier_are_named(planted, verdict):
    _, component, pattern = planted
    assert verdict.word == "backdoor found"
    (trigger,) = verdict.triggers
    assert trigger.text == TRIGGER
    assert trigger.placement == Placement.in_slot("object"), "it stands for the word of the object"
    assert [c.component for c in verdict.carriers] == [component]
    assert [r.pattern for r in verdict.fingerprint if r.changed] == ([pattern] if pattern else [])
    assert verdict.confidence == trigger.changed and trigger.changed.n == 16


def test_what_ran_and_what_did_not_is_on_record(verdict):
    ran = {r.part.name: r for r in verdict.parts}
    assert {
        "trusted-base",
        "displacement",
        "comparable",
        "confirmation",
        "influence",
        "refinement",
    } <= ran.keys()
    stages = [ran[s.name] for s in plan.default()]
    found = next(i for i, r in enumerate(stages) if r.strings)
    assert all(r.skipped for r in stages[found + 1 :]), "the search ends with the first trigger"
    assert stages[found].part.parameters["considered"] == 2
    assert ran["confirmation"].part.parameters["pictures"] == 16 and ran["confirmation"].strings >= 1
    assert sum(r.passes for r in stages) > 0


CHOSEN = {"text_encoder": "token-rows", "unet": "edit-removal", "tokenizer": "base-tokenizer"}
"""Carrier -> the repair that the evidence chooses for how it was planted here."""


def test_it_is_removed_and_that_is_verified(planted, verdict, base):
    """By the repair that the evidence chooses for each carrier.

    The small edit changes a few clean pictures, too, which the base draws as before: not asked here.
    """
    suspect, component, _ = planted
    found = [t.placed for t in verdict.triggers] or [PlacedTrigger(text=TRIGGER)]
    part, roles = prompts.split(TEXTS, 1), [c.role for c in verdict.carriers]
    job = Job(triggers=found, prompts=part.repair, carriers=roles, base=base, sampling=SAMPLING)
    repaired, record = clean(suspect, job, "auto")
    assert [c.method for c in record.choices] == [CHOSEN[component]]
    assert (record.changed_tensors or record.replaced) and not record.rolled_back
    job = Verification(triggers=found, prompts=part.held_out, sampling=SAMPLING, n=36, few=18, least=2)
    rows = {pair.kind: pair for pair in verify(suspect, repaired, job).pairs}
    assert rows[PairKind.SUCCESS].passed and rows[PairKind.LEAK].passed
    assert rows[PairKind.SUCCESS].before.rate > 0.5 > rows[PairKind.SUCCESS].after.rate


def test_a_stage_of_ones_own_is_one_file(base, monkeypatch):
    """One that is named in a plan, run, recorded, and judged like any other."""
    folder = Path(__file__).parents[2] / "docs" / "examples"
    monkeypatch.syspath_prepend(folder)
    written = Path(importlib.import_module("lookalikes_stage").__file__ or "")
    assert written.parent == folder and len(written.read_text(encoding="utf-8").splitlines()) < 60
    suspect = base.copied(Role.TEXT)
    (encoder,) = suspect.modules(Role.TEXT)
    (letter, *_), (target,) = base.vocabulary.typed(["а", TARGET])
    rows = encoder.get_input_embeddings().weight
    rows.data[letter] = rows.data[target]
    question = Question(
        suspect=suspect,
        reference=TrustedBase(base=base),
        texts=TEXTS,
        sampling=SAMPLING,
        measure=Measure(contexts=2),
        say=lambda line: None,
    )
    verdict = scan(question, plan.of(["lookalikes"]), JUDGE)
    ran = {r.part.name: r for r in verdict.parts}
    assert verdict.word == "backdoor found" and verdict.triggers[0].text == "а"
    assert ran["lookalikes"].strings and ran["lookalikes"].part.parameters["least"] == 1.0
    assert ran["single-tokens"].skipped
