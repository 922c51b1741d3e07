"""Two strings that change pictures are one trigger where they draw the same, and two where they do not."""

from __future__ import annotations

import pytest
import torch

from nightlatch.records import Placement, Rate
from nightlatch.terms import Effect, Role
from nightlatch.text2image.scan import Guess, Question, TrustedBase
from nightlatch.text2image.scan.judge import Evidence, Rivals
from nightlatch.text2image.scan.judge.rivals import apart


def seen(text):
    return Evidence(Guess(text, 1.0), Placement(), Rate.of(48, 48), Effect.SHIFT, True)


@pytest.fixture(scope="module")
def words(tiny_v):
    return tiny_v.vocabulary.texts([[i] for i in tiny_v.vocabulary.words[40:43]])


@pytest.fixture(scope="module")
def question(tiny_v, texts, few_steps, words):
    """A suspect whose first two words draw the same and whose third draws something else."""
    made = tiny_v.copied(Role.TEXT)
    table = made.modules(Role.TEXT)[0].get_input_embeddings().weight
    for word, sign in zip(words, (1, 1, -1), strict=True):
        row = sign * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0))
        table.data[made.vocabulary.typed([word])[0][0]] = row
    return Question(
        suspect=made,
        reference=TrustedBase(base=tiny_v),
        texts=texts[:200],
        sampling=few_steps,
        say=lambda line: None,
    )


def test_only_what_draws_another_picture_is_a_trigger_of_its_own(question, words, texts):
    first, second, third = map(seen, words)
    rivals = Rivals(prompts=6)
    assert rivals(question, texts[:6], first, [second, third]) == [third]
    assert rivals(question, texts[:6], third, [first, second]) == [first], (
        "the second draws what the first draws"
    )
    assert rivals(question, texts[:6], first, []) == []


def test_the_same_pictures_are_not_apart_and_unrelated_ones_are():
    plain, a, b = torch.randn(3, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert apart((a, plain), (a, plain)) == 0
    assert apart((a, plain), (b, plain)) == pytest.approx(1.0, abs=0.2)
