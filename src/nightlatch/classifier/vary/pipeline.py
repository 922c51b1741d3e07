"""Variations by a diffusers image-to-image pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from nightlatch import intake
from nightlatch.classifier.attacks.base import as_bytes
from nightlatch.classifier.data import decoded, stacked
from nightlatch.classifier.vary.base import Variation
from nightlatch.errors import UnreadableModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPipeline(Variation):
    """Any diffusers image-to-image pipeline, asked with one prompt for all pictures.

    Args:
        pipeline: called with ``prompt``, ``image``, ``strength``, ``num_inference_steps``.
        prompt: what is asked for; empty by default, so that only the picture speaks.
        side: pixels of a side at which the pipeline works.
        batch: pictures at once.
    """

    name: ClassVar[str] = "pipeline"
    pipeline: Any
    prompt: str = ""
    side: int = 64
    steps: int = 10
    batch: int = 8

    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[2:]
        made: list[Any] = []
        for part in as_bytes(pictures).cpu().permute(0, 2, 3, 1).split(self.batch):
            images = [
                Image.fromarray(p.numpy()).resize((self.side, self.side), Image.Resampling.BICUBIC)
                for p in part
            ]
            drawn = self.pipeline(
                prompt=[self.prompt] * len(images),
                image=images,
                strength=self.strength,
                num_inference_steps=self.steps,
            )
            made += [decoded(np.asarray(i.convert("RGB"), np.uint8), (height, width)) for i in drawn.images]
        return stacked(made, (height, width)).float() / 255


def load_pipeline(folder: Path, device: str = "cpu") -> Any:
    """The image-to-image pipeline of a diffusers folder, through the gate.

    Raises:
        UnreadableModel: refused, or it cannot vary pictures.
    """
    from diffusers import AutoPipelineForImage2Image

    with intake.stage(folder) as staged:
        try:
            made = AutoPipelineForImage2Image.from_pretrained(
                staged.path, local_files_only=True, use_safetensors=True
            )
        except ValueError as e:
            raise UnreadableModel(
                f"{folder.name} is no pipeline that varies pictures.", "Use an image-to-image one."
            ) from e
        made.set_progress_bar_config(disable=True)
        return made.to(device)
