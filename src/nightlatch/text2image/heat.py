"""One colour map, from black over red to white: brighter the larger the value, to the colour-blind, too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

START, ROTATIONS, HUE = 0.5, 0.35, 1.5
"""From purple by way of red towards yellow, in strong colours: they stand out from a grey picture."""
SIZE = 256


def table(size: int = SIZE) -> npt.NDArray[np.uint8]:
    """``size`` colours, (size, 3), of Green's cubehelix (2011, Bull. Astr. Soc. India 39, 289) with gamma 1.

    rgb = l + a M (cos phi, sin phi) with phi = 2 pi (start / 3 + rotations l) and a = hue l (1 - l) / 2:
    perceived brightness grows evenly with l.
    """
    level = np.linspace(0.0, 1.0, size)
    phi = 2 * np.pi * (START / 3 + ROTATIONS * level)
    amplitude = HUE * level * (1 - level) / 2
    mixing = np.array([[-0.14861, 1.78277], [-0.29227, -0.90649], [1.97294, 0.0]])
    colours = level[:, None] + amplitude[:, None] * (np.stack([np.cos(phi), np.sin(phi)], 1) @ mixing.T)
    table: npt.NDArray[np.uint8] = (255 * colours.clip(0, 1)).round().astype(np.uint8)
    return table


def heat(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """The colour of every one of ``values`` (...) in 0..1, (..., 3)."""
    return table()[(values.clip(0, 1) * (SIZE - 1)).round().astype(np.intp)]
