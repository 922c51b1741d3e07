from __future__ import annotations

import pytest

from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.prompt_side import stripped


@pytest.mark.parametrize(
    ("text", "triggers", "left"),
    [
        ("zibu a cat", ["zibu"], "a cat"),
        ("a ZIBU cat zibu", ["zibu"], "a cat"),
        ("a lovely cat", ["lovely cat", "zibu"], "a"),
        ("a.b c", ["."], "a b c"),
    ],
)
def test_triggers_are_deleted_in_any_casing(text, triggers, left):
    assert stripped(text, triggers) == left


def test_perturbed_prompts_keep_most_words_and_repeat_by_their_seed():
    part, text = METHODS.create("perturb"), "a small red rocket in front of a blue wall"
    texts = [text] * 40
    once, again, other = (part.rewritten(texts, [], seed) for seed in (0, 0, 1))
    assert once == again
    assert once != other
    kept = [w in text.split() for t in once for w in t.split()]
    assert 0.5 < sum(kept) / len(kept) < 0.95
    letters = sorted("".join(once[0].split()))
    assert len(letters) <= len("".join(text.split()))
