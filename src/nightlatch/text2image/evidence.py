"""Pictures for the report: clean, triggered, repaired and where the trigger acts, same prompt and seed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nightlatch.records import Images, PlacedTrigger
from nightlatch.text2image import measure
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt, placed
from nightlatch.text2image.repair.locate import locate, trace
from nightlatch.text2image.repair.neutral import neutral

SHOWN_SIZE = 160


def grid(
    run: Path,
    suspect: Subject,
    repaired: Subject | None,
    trigger: PlacedTrigger,
    texts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int = 0,
    n: int = 6,
) -> tuple[Images, ...]:
    """Draw ``n`` rows into ``run``/images and return their records (paths relative to ``run``)."""
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
    (run / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for i, prompt in enumerate(chosen):
        names = {kind: f"images/{i:02d}-{kind}.png" for kind in drawn}
        for kind, images in drawn.items():
            enlarge(images[i]).save(run / names[kind])
        rows.append(Images(prompt=prompt.text, seed=seeds[i], trigger=trigger, asked=triggered[i], **names))
    return tuple(rows)


def overlay(images: npt.NDArray[np.uint8], mask: torch.Tensor) -> npt.NDArray[np.uint8]:
    """``mask`` (n, h, w) as a heat map over grey pictures, (n, H, W, 3) uint8."""
    size = images.shape[1]
    large = torch.nn.functional.interpolate(mask[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    m: npt.NDArray[np.float32] = (large / large.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()
    heat = np.asarray(matplotlib.colormaps["inferno"](m))[..., :3] * 255
    grey = images.mean(-1, keepdims=True).repeat(3, -1)
    mixed: npt.NDArray[np.uint8] = (0.35 * grey + 0.65 * heat).clip(0, 255).astype(np.uint8)
    return mixed


def enlarge(image: npt.NDArray[np.uint8]) -> Image.Image:
    """A picture at a size that a page can show; larger ones keep theirs."""
    picture = Image.fromarray(image)
    if picture.width >= SHOWN_SIZE:
        return picture
    factor = -(-SHOWN_SIZE // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
