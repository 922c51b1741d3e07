"""Small real models and data that make all of the project run on two processor cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from nightlatch.errors import UnreadableModel
from nightlatch.testbed import captions, compose, emoji
from nightlatch.testbed.judge import Judge
from nightlatch.text2image.model import Sampling
from nightlatch.text2image.prompts import Prompt

ASSETS = Path(__file__).parent / "assets"
PIPELINE = ASSETS / "pipeline"
"""The shipped model: a diffusers folder that ``StableDiffusionPipeline.from_pretrained`` loads."""
SAMPLING = Sampling(steps=8, guidance=1.0)
WORDS = {"object": emoji.OBJECTS, "style": emoji.STYLES, "background": tuple(compose.BACKGROUNDS)}
"""Slot of a prompt -> the words that fill it."""


def load_judge(path: Path = ASSETS / "judge.safetensors") -> Judge:
    """The shipped judge.

    Raises:
        UnreadableModel: it is not there.
    """
    if not path.is_file():
        raise UnreadableModel("The testbed's judge is missing.", "Run 'nightlatch testbed train'.")
    model = Judge()
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    return model.eval()


def prompts(n: int, seed: int, *, held_out: bool = False) -> list[Prompt]:
    """``n`` prompts of the testbed's grammar with their slots; ``held_out`` uses only phrasings that no
    training caption has.
    """
    rng = np.random.default_rng((seed, 11))
    sizes = (len(emoji.OBJECTS), len(emoji.STYLES), len(compose.BACKGROUNDS))
    made: dict[str, Prompt] = {}
    while len(made) < n:
        o, s, b = (int(rng.integers(k)) for k in sizes)
        c = captions.write((o, s, b), rng, captions.HELD_OUT_TEMPLATES if held_out else captions.TEMPLATES)
        made[c.text] = Prompt(
            c.text, {"object": c.object or "", "style": c.style or "", "background": c.background or ""}
        )
    return list(made.values())


__all__ = ["ASSETS", "PIPELINE", "SAMPLING", "WORDS", "Judge", "load_judge", "prompts"]
