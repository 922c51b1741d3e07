"""Pictures for the report: clean, triggered, repaired and where the trigger acts, same prompt and seed side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nightlatch.records import PlacedTrigger
from nightlatch.text2image import measure
from nightlatch.text2image.prompts import Prompt, placed
from nightlatch.text2image.repair.locate import locate, trace
from nightlatch.text2image.repair.neutral import neutral
from nightlatch.text2image.subject import Sampling, Subject

SHOWN_SIZE = 160
HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], dtype=np.float32)
"""Six colours of the map "inferno" (van der Walt and Smith 2015), evenly spaced from nothing to most; between them it is nearly straight."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures of one prompt and seed, by column."""

    prompt: str
    asked: str
    seed: int
    pictures: Mapping[str, Image.Image]


def grid(
    suspect: Subject,
    repaired: Subject | None,
    trigger: PlacedTrigger,
    texts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int = 0,
    n: int = 6,
) -> Iterator[Drawn]:
    """Draw ``n`` rows: clean, with the trigger, the same by ``repaired``, and where the trigger acts."""
    chosen = list(texts)[:n]
    place = placed(trigger.placement, seed)
    form = neutral(suspect, trigger.text, chosen, seed, place)
    seeds = measure.seeds(len(chosen), seed)
    triggered = [place(p, trigger.text) for p in chosen]
    clean = [form.disarm(p, place, 1 + i) for i, p in enumerate(chosen)]
    filled = [place(p, form.filled[0]) for p in chosen]
    drawn = {"clean": suspect.generate(clean, seeds, sampling), "triggered": suspect.generate(triggered, seeds, sampling)}
    if repaired is not None:
        drawn["repaired"] = repaired.generate(triggered, seeds, sampling)
    where = suspect.ids(triggered) != suspect.ids(filled)
    located = locate(suspect, trace(suspect, triggered, seeds, sampling), clean, where)
    drawn["overlay"] = overlay(drawn["triggered"], located.mask(0.0).mean(0))
    for i, prompt in enumerate(chosen):
        yield Drawn(prompt.text, triggered[i], seeds[i], {kind: enlarge(images[i]) for kind, images in drawn.items()})


def overlay(images: npt.NDArray[np.uint8], mask: torch.Tensor) -> npt.NDArray[np.uint8]:
    """``mask`` (n, h, w) as a heat map over grey pictures, (n, H, W, 3) uint8."""
    size = images.shape[1]
    large = torch.nn.functional.interpolate(mask[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    m: npt.NDArray[np.float32] = (large / large.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()
    heat = coloured(m)
    grey = images.mean(-1, keepdims=True).repeat(3, -1)
    mixed: npt.NDArray[np.uint8] = (0.35 * grey + 0.65 * heat).clip(0, 255).astype(np.uint8)
    return mixed


def coloured(share: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Shares in [0, 1] as colours of ``HEAT``, mixed in a straight line between two, (..., 3) in [0, 255]."""
    at = np.linspace(0.0, 1.0, len(HEAT))
    return np.stack([np.interp(share, at, HEAT[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def enlarge(image: npt.NDArray[np.uint8]) -> Image.Image:
    """A picture at a size that a page can show; larger ones keep theirs."""
    picture = Image.fromarray(image)
    if picture.width >= SHOWN_SIZE:
        return picture
    factor = -(-SHOWN_SIZE // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
