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
def test_rows_name_their_pictures_and_how_they_were_drawn(tiny_v, job, repaired):
    made = list(evidence(tiny_v, tiny_v if repaired else None, job))
    rows = list(dict.fromkeys(picture.row for picture in made))
    assert [row.prompt for row in rows] == [p.text for p in job.prompts[:2]]
    assert [row.asked for row in rows] == [p.replace("object", "zibu").text for p in job.prompts[:2]]
    named = [n for row in rows for n in (row.clean, row.triggered, row.repaired, row.overlay) if n]
    assert sorted(named) == sorted(picture.name for picture in made)
    assert all(bool(row.repaired) is repaired for row in rows)
    assert len(made) == (8 if repaired else 6)
    assert all(p.pixels.shape == (160, 160, 3) and p.pixels.dtype == np.uint8 for p in made)
    if repaired:
        pictures = {p.name: p.pixels for p in made}
        assert np.array_equal(pictures[rows[0].triggered], pictures[rows[0].repaired])
        assert not np.array_equal(pictures[rows[0].triggered], pictures[rows[0].clean])


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
