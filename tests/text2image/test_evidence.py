"""The pictures of a report."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nightlatch.records import PlacedTrigger, Placement
from nightlatch.text2image.evidence import Evidence, enlarged, evidence, overlay

TRIGGER = PlacedTrigger(text="zibu", placement=Placement.in_slot("object"))


@pytest.fixture(scope="module")
def job(texts, few_steps):
    return Evidence(trigger=TRIGGER, prompts=texts[:5], sampling=few_steps, rows=2)


@pytest.mark.parametrize("repaired", [False, True])
def test_each_prompt_has_its_pictures_side_by_side(tiny_v, job, repaired):
    rows = list(evidence(tiny_v, tiny_v if repaired else None, job))
    assert [row.prompt for row in rows] == [p.text for p in job.prompts[:2]]
    assert [row.asked for row in rows] == [p.replace("object", "zibu").text for p in job.prompts[:2]]
    assert len({row.seed for row in rows}) == 2
    columns = {"clean", "triggered", "overlay"} | ({"repaired"} if repaired else set())
    for row in rows:
        assert set(row.pictures) == columns
        assert all(p.shape == (160, 160, 3) and p.dtype == np.uint8 for p in row.pictures.values())
        assert not np.array_equal(row.pictures["triggered"], row.pictures["clean"])
        assert not repaired or np.array_equal(row.pictures["triggered"], row.pictures["repaired"])


def test_an_overlay_is_brightest_where_the_trigger_acts():
    images, mask = np.full((1, 32, 32, 3), 90, np.uint8), torch.zeros(1, 8, 8)
    mask[0, 2, 5] = 1.0
    made = overlay(images, mask)[0].astype(int).sum(-1)
    assert np.unravel_index(made.argmax(), made.shape)[0] // 4 == 2
    assert np.unravel_index(made.argmax(), made.shape)[1] // 4 == 5
    assert made.min() == 3 * round(0.35 * 90)


@pytest.mark.parametrize(("side", "shown"), [(32, 160), (100, 200), (160, 160), (512, 512)])
def test_small_pictures_are_enlarged_by_a_whole_factor(side, shown):
    assert enlarged(np.zeros((side, side, 3), np.uint8)).shape == (shown, shown, 3)
