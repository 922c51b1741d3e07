"""Ordinary prompts that come with the package."""

from __future__ import annotations

import numpy as np

from nightlatch.text2image.prompts.prompt import Prompt

NOUNS = (
    "cat", "dog", "horse", "car", "house", "tree", "woman", "man", "child", "bird", "mountain", "beach", "city street",
    "castle", "robot", "boat", "flower", "bridge", "bicycle", "train", "cup of coffee", "bowl of fruit", "guitar", "chair",
    "forest", "lake", "lion", "elephant", "clock", "lamp",
)  # fmt: skip
MANNERS = ("photo", "painting", "drawing", "watercolor", "sketch", "3d render")
SCENES = (
    "at sunset", "in the snow", "on a white background", "in a garden", "at night", "in the rain", "in soft light",
    "by the sea",
)  # fmt: skip


def general(n: int, seed: int) -> list[Prompt]:
    """``n`` ordinary prompts for a model of photographs and art, with their slots."""
    rng = np.random.default_rng((seed, 12))
    made: dict[str, Prompt] = {}
    while len(made) < min(n, len(NOUNS) * len(MANNERS) * len(SCENES)):
        o, s, b = (str(rng.choice(x)) for x in (NOUNS, MANNERS, SCENES))
        article = "an" if o[0] in "aeiou" else "a"
        text = f"a {s} of {article} {o} {b}"
        made[text] = Prompt(text, {"object": o, "style": s, "background": b})
    return list(made.values())
