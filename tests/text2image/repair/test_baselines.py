from __future__ import annotations

import pytest

from nightlatch.text2image.repair.baselines import stripped


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
