"""What makes variations, by its name or folder."""

from __future__ import annotations

from pathlib import Path

from nightlatch.classifier.vary.base import VARIATIONS, ByDiffusion, Variation
from nightlatch.classifier.vary.model import PictureDiffusion
from nightlatch.classifier.vary.pipeline import ByPipeline, load_pipeline


def named(generator: str, strength: float, steps: int, device: str = "cpu") -> Variation:
    """A control by its name, a diffusion model of pictures by its folder, or any other image-to-image
    pipeline by its folder.

    Raises:
        UsageError, UnreadableModel: there is no such thing.
    """
    folder = Path(generator)
    if not folder.exists():
        return VARIATIONS.create(generator, strength=strength)
    if "DDIMPipeline" in _class_of(folder):
        return ByDiffusion(model=PictureDiffusion.load(folder, device), strength=strength, steps=steps)
    return ByPipeline(pipeline=load_pipeline(folder, device), strength=strength, steps=steps)


def _class_of(folder: Path) -> str:
    index = folder / "model_index.json"
    return index.read_text("utf-8")[:2000] if index.is_file() else ""
