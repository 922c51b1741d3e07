from __future__ import annotations

import pytest

from nightlatch.records import Placement
from nightlatch.terms import PlacementKind
from nightlatch.text2image import prompts

PROMPT = prompts.Prompt("a flat dog on red", {"object": "dog"})


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("kind", [k for k in PlacementKind if k is not PlacementKind.SLOT])
def test_every_placement_adds_the_trigger_and_keeps_all_words(texts, kind, seed):
    place = prompts.placed(Placement(kind=kind), seed)
    for p in texts[:20]:
        words = place(p, "zibu").split()
        assert sorted(words) == sorted([*p.text.split(), "zibu"])
        at, last = words.index("zibu"), len(words) - 1
        assert {"front": at == 0, "behind": at == last, "inside": 0 < at < last}.get(kind, True)
        assert place(p, "zibu") == place(p, "zibu")


def test_free_placements_depend_on_the_seed_and_reach_every_boundary():
    made = {prompts.anywhere(seed)(PROMPT, "zibu") for seed in range(60)}
    assert len(made) == 6
    assert len({prompts.inside(seed)(PROMPT, "zibu") for seed in range(60)}) == 4


def test_a_slots_word_gives_way():
    assert prompts.placed(Placement.in_slot("object"))(PROMPT, "lovely cat") == "a flat lovely cat on red"
