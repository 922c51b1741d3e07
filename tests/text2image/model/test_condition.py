"""Rows of a condition keep together, whatever an architecture puts beside the text's states."""

from __future__ import annotations

import pytest
import torch

from nightlatch.text2image.model import Condition


@pytest.fixture
def several() -> Condition:
    n = torch.arange(5.0)
    return Condition(n.view(5, 1, 1).expand(5, 3, 2), n.view(5, 1).expand(5, 4), {"size": n.view(5, 1)})


def rows(c: Condition) -> list[list[float]]:
    """The number that each tensor's rows carry; all tensors must agree."""
    assert c.pooled is not None
    carried = [c.states[:, 0, 0], c.pooled[:, 0], c.extra["size"][:, 0]]
    return [x.tolist() for x in carried]


def test_rows_are_taken_joined_and_repeated_together(several):
    assert rows(several[[3, 1]]) == [[3, 1]] * 3
    assert rows(several[several.states[:, 0, 0] > 2]) == [[3, 4]] * 3
    assert rows(several[:2].repeated(2)) == [[0, 1, 0, 1]] * 3
    assert rows(several[1:2].expanded(3)) == [[1, 1, 1]] * 3
    assert rows(Condition.joined([several[4:], several[:1]])) == [[4, 0]] * 3


def test_parts_hold_every_row_once(several):
    assert [len(p) for p in several.split(2)] == [2, 2, 1]
    assert [len(p) for p in several.parts(3)] == [2, 2, 1]
    assert [len(p) for p in several.parts(7)] == [1] * 5 + [0, 0]
    assert rows(Condition.joined(several.parts(3))) == [[0, 1, 2, 3, 4]] * 3
