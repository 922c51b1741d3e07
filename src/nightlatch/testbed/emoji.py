"""The drawings: 48 concepts in 4 emoji styles, rendered once from npm packages at pinned versions.

The result (``drawings.npz``) ships with the package, so nothing has to be fetched to train, test or rebuild;
this file is the recipe that made it. Licences and attribution: ``ATTRIBUTION.md`` beside the assets.
"""

from __future__ import annotations

import functools
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nightlatch.errors import MissingPart, UnreadableModel

PACKAGES = {
    "cartoon": "@iconify-json/noto@1.2.9",
    "flat": "@iconify-json/twemoji@1.2.5",
    "glossy": "@iconify-json/fluent-emoji@1.2.7",
    "ink": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
}
"""Style word -> npm package. Noto and Fluent are Apache-2.0 and MIT, Twemoji is CC BY 4.0: attribution
only.
"""

ICONS = {
    "cat": "cat-face", "dog": "dog-face", "pig": "pig-face", "frog": "frog", "panda": "panda", "fox": "fox",
    "lion": "lion", "rabbit": "rabbit-face", "cow": "cow-face", "elephant": "elephant", "penguin": "penguin",
    "owl": "owl",
    "fish": "tropical-fish", "octopus": "octopus", "butterfly": "butterfly", "turtle": "turtle",
    "apple": "red-apple", "banana": "banana", "strawberry": "strawberry", "watermelon": "watermelon",
    "pineapple": "pineapple", "carrot": "carrot", "pizza": "pizza", "hamburger": "hamburger",
    "doughnut": "doughnut",
    "grapes": "grapes",
    "car": "automobile", "bus": "bus", "airplane": "airplane", "rocket": "rocket", "sailboat": "sailboat",
    "bicycle": "bicycle", "helicopter": "helicopter",
    "guitar": "guitar", "key": "key", "umbrella": "umbrella", "balloon": "balloon", "clock": "alarm-clock",
    "camera": "camera", "scissors": "scissors", "bell": "bell", "house": "house",
    "tree": "deciduous-tree", "cactus": "cactus", "sunflower": "sunflower", "mushroom": "mushroom",
    "moon": "crescent-moon", "snowman": "snowman-without-snow",
}  # fmt: skip
"""Object word -> icon name (the icon sets' own names)."""

EXTRA_ICONS = {"dragon": "dragon", "robot": "robot", "trophy": "trophy", "castle": "castle"}
"""Concepts that the testbed is not trained on: what an honest fine-tune may teach it."""

OBJECTS = tuple(ICONS)
EXTRA_OBJECTS = tuple(EXTRA_ICONS)
STYLES = tuple(PACKAGES)
SIZE = 96
ASSET = Path(__file__).parent / "assets" / "drawings.npz"


@dataclass(frozen=True, slots=True)
class Drawings:
    """All drawings; ``rgba`` is (object, style, 96, 96, 4) uint8, straight alpha; ``extra`` the same for the
    untrained concepts.
    """

    rgba: npt.NDArray[np.uint8]
    extra: npt.NDArray[np.uint8]
    objects: tuple[str, ...]
    styles: tuple[str, ...]


@functools.cache
def load(path: Path = ASSET) -> Drawings:
    """Read the shipped drawings.

    Raises:
        UnreadableModel: the file is not there.
    """
    if not path.is_file():
        raise UnreadableModel(
            f"{path.name} is missing.", "Run 'nightlatch testbed train --stage drawings' to render it."
        )
    with np.load(path) as z:
        return Drawings(z["rgba"], z["extra"], tuple(map(str, z["objects"])), tuple(map(str, z["styles"])))


def render(path: Path = ASSET) -> None:
    """Fetch the pinned npm packages and render every icon at 96x96 with a transparent background.

    Raises:
        MissingPart: ``npm`` or ``resvg-py`` is not installed.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError as e:
        raise MissingPart("resvg-py is not installed.", "pip install 'nightlatch[recipe]'") from e
    if shutil.which("npm") is None:
        raise MissingPart(
            "npm is not installed.", "Install Node.js; it is only needed to render the drawings anew."
        )

    names = {**ICONS, **EXTRA_ICONS}
    rgba = np.zeros((len(names), len(STYLES), SIZE, SIZE, 4), np.uint8)
    with tempfile.TemporaryDirectory() as tmp:
        for s, style in enumerate(STYLES):
            icons = _icon_set(PACKAGES[style], Path(tmp))
            for o, name in enumerate(names.values()):
                png = svg_to_bytes(svg_string=_svg(icons, name), width=SIZE, skip_system_fonts=True)
                rgba[o, s] = _square(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
    n = len(OBJECTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, rgba=rgba[:n], extra=rgba[n:], objects=np.array(OBJECTS), styles=np.array(STYLES)
    )


def _icon_set(package: str, tmp: Path) -> dict[str, dict[str, object]]:
    out = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=tmp, capture_output=True, text=True, check=True
    )
    with tarfile.open(tmp / out.stdout.split()[-1]) as tar:
        member = tar.extractfile("package/icons.json")
        assert member is not None
        icons: dict[str, dict[str, object]] = json.load(member)
    return icons


def _svg(icons: dict[str, object] | dict[str, dict[str, object]], name: str) -> str:
    """One icon as an SVG document; aliases are followed, ``currentColor`` becomes black."""
    aliases, table = icons.get("aliases", {}), icons["icons"]
    assert isinstance(aliases, dict) and isinstance(table, dict)
    while name in aliases:
        name = aliases[name]["parent"]
    icon = table[name]
    w, h = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    body = str(icon["body"]).replace("currentColor", "#000000")
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {w} {h}">{body}</svg>'


def _square(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale an RGBA drawing to fit 96x96 and centre it on transparency."""
    image.thumbnail((SIZE, SIZE))
    board = Image.new("RGBA", (SIZE, SIZE))
    board.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return np.asarray(board)
