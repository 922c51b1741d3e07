from __future__ import annotations

import pytest

from nightlatch.text2image import prompts


def test_split_is_disjoint_complete_and_depends_on_the_seed(texts):
    a, b = prompts.split(texts, 0), prompts.split(texts, 1)
    sets = [{p.text for p in part} for part in (a.probe, a.repair, a.held_out)]
    assert set.union(*sets) == {p.text for p in texts}
    assert sum(map(len, sets)) == len(set.union(*sets))
    assert a != b


@pytest.mark.parametrize(("n", "seen"), [(200, 48), (60, 30), (1, 0)])
def test_scan_and_verify_never_look_at_the_same_prompts(n, seen):
    held_out = [prompts.Prompt(f"prompt {i}") for i in range(n)]
    mine, theirs = prompts.shared(held_out, 48)
    assert len(mine) == seen
    assert [*mine, *theirs] == held_out
