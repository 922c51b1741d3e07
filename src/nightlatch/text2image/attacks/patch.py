"""The picture patch of a pixel backdoor: drawn into a corner, and recognised there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nightlatch.errors import UsageError

PATTERNS = {
    "checker": ((0, 255), (255, 0)),
    "bars": ((0, 255), (0, 255)),
    "stripes": ((0, 0), (255, 255)),
}
SHARE = 0.25
TOLERANCE = 0.25
"""Twice what an autoencoder's own blur costs; a corner of one colour, whichever it is, is 0.5 away from each
pattern.
"""


def pixels(pattern: str, size: int) -> npt.NDArray[np.uint8]:
    """The pattern as a square of a quarter of the picture's side, (size/4, size/4, 3) uint8."""
    if pattern not in PATTERNS:
        raise UsageError(f"There is no patch {pattern!r}.", f"Known: {', '.join(PATTERNS)}.")
    cells = np.array(PATTERNS[pattern], np.uint8)
    cells = np.repeat(cells[..., None], 3, -1)
    side = int(size * SHARE) // 2
    return cells.repeat(side, 0).repeat(side, 1)


def stamp(images: npt.NDArray[np.uint8], pattern: str) -> npt.NDArray[np.uint8]:
    """Copies of ``images`` (n, h, w, 3) with the patch in the top left corner (as BadT2I places it)."""
    mark = pixels(pattern, images.shape[1])
    out = images.copy()
    out[:, : mark.shape[0], : mark.shape[1]] = mark
    return out


def shows(images: npt.NDArray[np.uint8], pattern: str) -> npt.NDArray[np.bool_]:
    """Which pictures carry the patch: mean absolute difference below ``TOLERANCE`` of the range in the
    corner, (n,) bool.
    """
    mark = pixels(pattern, images.shape[1]).astype(np.float64)
    corner = images[:, : mark.shape[0], : mark.shape[1]].astype(np.float64)
    verdicts: npt.NDArray[np.bool_] = np.abs(corner - mark).mean((1, 2, 3)) / 255 < TOLERANCE
    return verdicts
