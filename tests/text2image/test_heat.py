from __future__ import annotations

import numpy as np

from nightlatch.text2image.heat import heat, table


def test_colours_go_from_black_to_white_and_get_brighter_all_the_way():
    """By the luma weights that the colour map was made for (Green 2011)."""
    colours = table().astype(float)
    assert colours.shape == (256, 3)
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[-1].tolist() == [255, 255, 255]
    luma = colours @ np.array([0.30, 0.59, 0.11])
    assert np.diff(luma).min() > 0
    assert np.abs(luma - np.arange(256)).max() < 8, "evenly"


def test_values_outside_are_the_nearest_end():
    assert heat(np.array([[-1.0, 0.0], [1.0, 2.0]])).tolist() == [[[0, 0, 0]] * 2, [[255, 255, 255]] * 2]
