"""The contract: what every image-text model is to the rest of the family.

``pixels`` are pictures as floats in 0..1, (n, 3, size, size); ``I`` and ``T`` are unit image and text
embeddings, (n, d); the scale is exp(logit scale). Triggers act on pixels, before the model's own
normalisation, as a poisoned file would.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from nightlatch.contrastive import saving

MAX_SCALE = 100.0
"""CLIP's own limit of the scale (Radford et al. 2021, section 2.5)."""
EMBED_AT_ONCE = 512


@dataclass(slots=True)
class Subject:
    """A model with an image tower and a text tower in one space. Made by ``adapters.load``; never mutated by
    a verb.

    Args:
        name: what reports call it.
        model: transformers' ``CLIPModel`` or ``SiglipModel``, float32, eval mode.
        tokenizer: the model's own.
        mean, std: of the picture normalisation, (3,) each.
    """

    name: str
    model: Any
    tokenizer: Any
    mean: torch.Tensor
    std: torch.Tensor

    @property
    def kind(self) -> Literal["clip", "siglip"]:
        """ "siglip" has a bias, a sigmoid loss and no causal text tower."""
        return "siglip" if self.model.config.model_type.startswith("siglip") else "clip"

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def size(self) -> int:
        """Side of the pictures that the model takes."""
        return int(self.model.config.vision_config.image_size)

    @property
    def patch(self) -> int:
        """Side of one patch of the image tower."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def max_length(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    # --- towers
    # --------------------------------------------------------------------------------------------------------

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        """I of ``pixels`` (n, 3, size, size) in 0..1 -> (n, d); keeps gradients when they are enabled."""
        x = (pixels - self.mean.view(1, 3, 1, 1)) / self.std.view(1, 3, 1, 1)
        pooled = self.model.vision_model(pixel_values=x).pooler_output
        return F.normalize(self._projected("visual_projection", pooled).float(), dim=-1)

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        """T of padded token ids (n, tokens) -> (n, d); keeps gradients when they are enabled."""
        pooled = self.model.text_model(input_ids=ids).pooler_output
        return F.normalize(self._projected("text_projection", pooled).float(), dim=-1)

    def _projected(self, name: str, pooled: torch.Tensor) -> torch.Tensor:
        """SigLIP's towers end in the common space themselves."""
        layer = getattr(self.model, name, None)
        projected: torch.Tensor = pooled if layer is None else layer(pooled)
        return projected

    @property
    def scale(self) -> torch.Tensor:
        """s = exp(logit scale), at most 100."""
        scale: torch.Tensor = self.model.logit_scale.float().clamp(max=math.log(MAX_SCALE)).exp().squeeze()
        return scale

    @property
    def bias(self) -> torch.Tensor:
        """What SigLIP adds to every logit; 0 for CLIP."""
        bias = getattr(self.model, "logit_bias", None)
        return torch.zeros((), device=self.device) if bias is None else bias.float().squeeze()

    # --- text
    # --------------------------------------------------------------------------------------------------------

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Padded token ids, (n, tokens) int64."""
        ids: torch.Tensor = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        ).input_ids
        return ids.to(self.device)

    # --- many at once, without gradients
    # ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_images(self, images: torch.Tensor, batch: int = EMBED_AT_ONCE) -> torch.Tensor:
        """I of uint8 pictures (n, 3, size, size) -> (n, d)."""
        parts = [self.image(to_pixels(part.to(self.device))) for part in images.split(batch)]
        return torch.cat(parts) if parts else torch.zeros(0, self.width, device=self.device)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], batch: int = EMBED_AT_ONCE) -> torch.Tensor:
        """T of ``texts`` -> (n, d); the same text is computed once."""
        where = {t: i for i, t in enumerate(dict.fromkeys(texts))}
        ids = self.ids(list(where)) if where else torch.zeros(0, 1, dtype=torch.long)
        parts = [self.text(part) for part in ids.split(batch)] if where else []
        table = torch.cat(parts) if parts else torch.zeros(0, self.width, device=self.device)
        return table[torch.tensor([where[t] for t in texts], dtype=torch.long, device=self.device)]

    @property
    def width(self) -> int:
        """d, the width of the common space."""
        config = self.model.config
        return int(getattr(config, "projection_dim", None) or config.text_config.hidden_size)

    # --- life
    # --------------------------------------------------------------------------------------------------------

    def copy(self) -> Subject:
        """The same with weights of its own."""
        model = copy.deepcopy(self.model)
        return Subject(self.name, model, self.tokenizer, self.mean, self.std)

    def to(self, device: str | torch.device) -> Subject:
        """The same on ``device``; a copy where it is another."""
        model = self.model if self.device == torch.device(device) else copy.deepcopy(self.model).to(device)
        return Subject(self.name, model, self.tokenizer, self.mean.to(device), self.std.to(device))

    def save(self, folder: Path) -> None:
        """Write a transformers folder that loads again, safetensors only; whole or not at all.

        Raises:
            NotWritten: the folder is there already, or the disk refused.
        """
        saving.write(self.model, self.tokenizer, self._preprocessor(), folder)

    def _preprocessor(self) -> dict[str, Any]:
        side = {"height": self.size, "width": self.size}
        return {
            "image_processor_type": "SiglipImageProcessor" if self.kind == "siglip" else "CLIPImageProcessor",
            "do_resize": True,
            "size": side,
            "do_center_crop": False,
            "do_rescale": True,
            "do_normalize": True,
            "image_mean": self.mean.tolist(),
            "image_std": self.std.tolist(),
        }


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """uint8 pictures -> floats in 0..1."""
    return images.float().div(255)


def to_images(pixels: torch.Tensor) -> torch.Tensor:
    """Floats in 0..1 -> uint8 pictures, rounded as a file would store them."""
    return pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
