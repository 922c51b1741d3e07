"""Pictures for the report, same prompt and seed side by side: clean, triggered, repaired, where it acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nightlatch.records import PlacedTrigger
from nightlatch.text2image.effect.locate import locate, trace
from nightlatch.text2image.effect.neutral import neutral
from nightlatch.text2image.heat import heat
from nightlatch.text2image.measure import seeds
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt, placed

Pixels = npt.NDArray[np.uint8]
SHOWN_SIZE = 160
"""Least side of a picture on a page; smaller ones are enlarged."""
HEAT_SHARE = 0.65
"""Share of the heat map in an overlay; the rest is the picture in grey, which must stay recognisable."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """Pictures of one prompt and seed, side by side.

    Args:
        prompt: without the trigger.
        asked: with it, as it was given to the model.
        seed: of all of them.
        pictures: "clean", "triggered", "repaired", "overlay" -> (h, w, 3).
    """

    prompt: str
    asked: str
    seed: int
    pictures: Mapping[str, Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is to be shown.

    Args:
        trigger: what is put into the prompts, and where it stands.
        prompts: the first ``rows`` of these are drawn.
        sampling: how.
        seed: of the pictures.
        rows: number of prompts.
    """

    trigger: PlacedTrigger
    prompts: Sequence[Prompt]
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    rows: int = 6


def evidence(suspect: Subject, repaired: Subject | None, job: Evidence) -> Iterator[Shown]:
    """The pictures of ``suspect``, and of ``repaired`` if there is one, prompt by prompt, to be written."""
    trigger, chosen = job.trigger, list(job.prompts)[: job.rows]
    place, numbers = placed(trigger.placement, job.seed), seeds(len(chosen), job.seed)
    form = neutral(suspect, trigger.text, chosen, job.seed, place)
    asked = [place(p, trigger.text) for p in chosen]
    clean = [form.disarm(p, place, 1 + i) for i, p in enumerate(chosen)]
    drawn = {
        "clean": suspect.generate(clean, numbers, job.sampling),
        "triggered": suspect.generate(asked, numbers, job.sampling),
    }
    if repaired is not None:
        drawn["repaired"] = repaired.generate(asked, numbers, job.sampling)
    where = suspect.ids(asked)[0] != suspect.ids([place(p, form.filled[0]) for p in chosen])[0]
    located = locate(suspect, trace(suspect, asked, numbers, job.sampling), clean, where)
    drawn["overlay"] = overlay(drawn["triggered"], located.mask(0.0).mean(0))
    for i, prompt in enumerate(chosen):
        pictures = {kind: enlarged(images[i]) for kind, images in drawn.items()}
        yield Shown(prompt=prompt.text, asked=asked[i], seed=numbers[i], pictures=pictures)


def overlay(images: Pixels, mask: torch.Tensor) -> Pixels:
    """``mask`` (n, h, w) as a heat map over ``images`` (n, H, W, 3) in grey, shape of the images."""
    size = images.shape[1:3]
    large = torch.nn.functional.interpolate(mask[:, None], size=size, mode="bilinear", align_corners=False)[
        :, 0
    ]
    share = (large / large.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()
    grey = images.mean(-1, keepdims=True)
    mixed: Pixels = ((1 - HEAT_SHARE) * grey + HEAT_SHARE * heat(share)).round().astype(np.uint8)
    return mixed


def enlarged(image: Pixels) -> Pixels:
    """A picture at a size that a page can show; larger ones keep theirs."""
    height, width = image.shape[:2]
    if width >= SHOWN_SIZE:
        return image
    factor = -(-SHOWN_SIZE // width)
    size = (width * factor, height * factor)
    made: Pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return made
