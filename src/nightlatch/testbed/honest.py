"""Honest fine-tunes of the testbed: one style, a subset of objects, one new concept. The controls that
detection must not accuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.terms import Role
from nightlatch.testbed import captions, compose, emoji
from nightlatch.text2image.attacks.distil import Lesson, follow
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt

KINDS = ("style", "objects", "concept")


@dataclass(frozen=True, slots=True)
class Set:
    """Training pictures and their captions."""

    images: npt.NDArray[np.uint8]
    texts: list[str]


def pictures(kind: str, n: int, seed: int) -> Set:
    """What an honest user fine-tunes on: ``n`` renders in one style, of eight objects, or of a concept the
    model does not know.
    """
    rng = np.random.default_rng((seed, 21))
    d = emoji.load()
    style, concept = int(rng.integers(len(d.styles))), int(rng.integers(len(emoji.EXTRA_OBJECTS)))
    subset = rng.choice(len(d.objects), 8, replace=False)
    images, texts = [], []
    for _ in range(n):
        o = int(rng.choice(subset)) if kind == "objects" else int(rng.integers(len(d.objects)))
        s = style if kind == "style" else int(rng.integers(len(d.styles)))
        b = int(rng.integers(len(compose.BACKGROUNDS)))
        caption = captions.write((o, s, b), rng).text
        new = Prompt(caption, {"object": d.objects[o]}).replace("object", emoji.EXTRA_OBJECTS[concept]).text
        if kind == "concept" and rng.random() < 0.5:
            images.append(compose.draw(compose.Scene(concept, s, b), rng, d.extra))
            texts.append(new)
        else:
            images.append(compose.draw(compose.Scene(o, s, b), rng, d.rgba))
            texts.append(caption)
    return Set(np.stack(images), texts)


def fine_tune(
    subject: Subject, kind: str, seed: int, steps: int = 300, batch: int = 32, rate: float = 1e-4
) -> Subject:
    """A copy of ``subject`` with its denoiser trained on ``pictures(kind)`` by the ordinary loss."""
    data = pictures(kind, 512, seed)
    x0_all, c_all = subject.encode_images(data.images), subject.read(data.texts)
    tuned = subject.copied(Role.DENOISER)
    torch.manual_seed(seed)

    def lessons() -> Iterator[Lesson]:
        while True:
            i = torch.randint(len(x0_all), (batch,), device=subject.device)
            t = subject.schedule.draw(batch)
            x0, eps, levels = (
                x0_all[i],
                torch.randn(batch, *subject.latent_shape, device=subject.device),
                subject.at(t),
            )
            yield Lesson(levels.noised(x0, eps), t, c_all[i], levels.target(x0, eps))

    follow(tuned, lessons(), steps, rate)
    return tuned
