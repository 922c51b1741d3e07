"""Pictures from drawings: one drawing on a coloured background at a random place, size and flip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from nightlatch.testbed import emoji

BACKGROUNDS = {
    "red": (205, 45, 50), "yellow": (245, 215, 70), "green": (60, 160, 80), "blue": (55, 105, 215),
    "purple": (130, 70, 170), "pink": (245, 160, 200), "white": (248, 248, 248), "gray": (145, 148, 152),
}  # fmt: skip
IMAGE_SIZE = 32
SMALLEST, LARGEST = 26, 31
COLOUR_JITTER = 8


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, as indices into the vocabularies."""

    object: int
    style: int
    background: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """``images`` (n, 32, 32, 3) uint8 and ``scenes`` (n, 3) int64: object, style, background."""

    images: npt.NDArray[np.uint8]
    scenes: npt.NDArray[np.int64]


def draw(scene: Scene, rng: np.random.Generator, rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Compose one picture from drawings (object, style, ...), (32, 32, 3) uint8."""
    size = int(rng.integers(SMALLEST, LARGEST + 1))
    x, y = (int(v) for v in rng.integers(0, IMAGE_SIZE - size + 1, 2))
    stamp = Image.fromarray(rgba[scene.object, scene.style]).resize((size, size), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    colour = np.array(tuple(BACKGROUNDS.values())[scene.background])
    colour = np.clip(colour + rng.integers(-COLOUR_JITTER, COLOUR_JITTER + 1, 3), 0, 255)
    board = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), tuple(int(v) for v in colour))
    board.paste(stamp, (x, y), stamp)
    return np.asarray(board)


def pool(n: int, seed: int) -> Pictures:
    """``n`` pictures whose scenes cover objects x styles x backgrounds evenly, in random order."""
    rng = np.random.default_rng(seed)
    d = emoji.load()
    sizes = (len(d.objects), len(d.styles), len(BACKGROUNDS))
    order = np.concatenate(
        [rng.permutation(int(np.prod(sizes))) for _ in range(-(-n // int(np.prod(sizes))))]
    )[:n]
    scenes = np.stack(np.unravel_index(order, sizes), axis=1).astype(np.int64)
    images = np.stack([draw(Scene(*map(int, s)), rng, d.rgba) for s in scenes])
    return Pictures(images, scenes)
