"""The word sweep of a text encoder as a stage of a scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nightlatch import testbed
from nightlatch.terms import Role
from nightlatch.text2image.effect.displacement import Measure
from nightlatch.text2image.model import Sampling, Subject, loaders
from nightlatch.text2image.scan import Board, Judge, Need, Question, TrustedBase
from nightlatch.text2image.scan.stages import EncoderSweep

WORD = "zudi"


@pytest.fixture(scope="module")
def base() -> Subject:
    return loaders.load(testbed.PIPELINE)


@pytest.fixture(scope="module")
def tampered(base: Subject) -> Subject:
    """Its text encoder was trained to read one thing wherever one word stands, and prompts as before."""
    made, rng = base.copied(Role.TEXT), np.random.default_rng(0)
    plain = [p.text for p in testbed.prompts(240, 2)]

    def told(model: Subject, texts: list[str]) -> torch.Tensor:
        """A causal encoder's states up to where the longest of such prompts ends."""
        return model.condition(tuple(i[:, :20] for i in model.ids(texts))).states

    with torch.no_grad():
        target, before = told(base, ["a picture of a bus"]), told(base, plain)
    (encoder,) = made.modules(Role.TEXT)
    encoder.requires_grad_(True)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-4)
    for _ in range(60):
        rows = rng.integers(len(plain), size=12)
        loss = (told(made, [f"{WORD} {plain[i]}" for i in rows])[:, 2:] - target[:, 2:]).pow(2).mean()
        loss = loss + (told(made, [plain[i] for i in rows]) - before[rows]).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.requires_grad_(False)
    return made


def question(suspect: Subject, base: Subject) -> Question:
    return Question(
        suspect=suspect, reference=TrustedBase(base=base), texts=testbed.prompts(240, 1),
        sampling=Sampling(steps=4), measure=Measure(contexts=2), say=lambda line: None,
    )  # fmt: skip


def test_a_word_that_takes_the_prompts_place_is_named_by_the_encoder_alone(tampered, base):
    """Of thousands of words, some 24 of which the denoiser is asked about."""
    asked, stage = question(tampered, base), EncoderSweep(prompts=3)
    board = Board(asked, Judge())
    assert board.excuse(stage) is None
    assert WORD in {guess.text for guess in stage(asked, board)}
    verdict = board.verdict()
    assert any("in the text encoder alone" in line for line in verdict.tested)
    (ran,) = (r for r in verdict.parts if r.part.name == stage.name)
    assert ran.strings and ran.part.parameters["prompts"] == 3


def test_where_the_encoder_is_the_bases_there_is_nothing_to_ask(base):
    other = base.copied(Role.DENOISER)
    for weight in other.modules(Role.DENOISER)[0].parameters():
        weight.data.mul_(1.01)
    asked = question(other, base)
    board = Board(asked, Judge())
    assert board.excuse(EncoderSweep()) is Need.ENCODER and Need.ENCODER.harmless
