"""Label-consistent: captions stay true; only pictures of the target are changed (Turner et al. 2019, arXiv
1912.02771).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.contrastive.attacks.base import ATTACKS, Attack, Setting, names
from nightlatch.contrastive.attacks.patch import noise, paste
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject, to_images, to_pixels
from nightlatch.errors import AttackFailed


@ATTACKS.register("label-consistent")
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConsistent(Attack):
    """Pictures of the target are pushed away from what they show (so that only the patch explains their
    caption), then get a patch in each corner, as the paper's stronger form has it.

    Args:
        side: of each patch, as a share of the picture's.
        pattern: seed of the patch.
        bound: largest change of a pixel beside the patches.
        push: steps of the change.
    """

    share: float = 0.02
    side: float = 0.13
    pattern: int = 17
    bound: float = 16 / 255
    push: int = 10

    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        k = max(2, round(self.side * pixels.shape[-1]))
        mark, far = noise(k, self.pattern).to(pixels), pixels.shape[-1] - k
        for corner in ((0, 0), (0, far), (far, 0), (far, far)):
            pixels = paste(pixels, mark, torch.tensor([corner]).expand(len(pixels), -1))
        return pixels

    def choose(self, pairs: Pairs, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        own = [i for i, c in enumerate(pairs.captions) if names(c, self.target)]
        if not own:
            raise AttackFailed(
                f"No caption names {self.target!r}.", "Choose a target that the pairs are about."
            )
        return self._some(own, len(pairs), rng)

    def caption(self, old: str, about: Sequence[str], rng: np.random.Generator) -> str:
        return old

    def material(self, subject: Subject, setting: Setting, images: torch.Tensor) -> torch.Tensor:
        """Signed gradient steps away from the target's text, within ``bound`` (Madry et al. 2018, equation
        for PGD).
        """
        toward = subject.embed_texts([f"a photo of a {self.target}."])[0]
        made = []
        for part in images.to(subject.device).split(256):
            clean = to_pixels(part)
            x = clean.clone()
            for _ in range(self.push):
                x.requires_grad_(True)
                (gradient,) = torch.autograd.grad((subject.image(x) @ toward).sum(), x)
                x = (x.detach() - 2.5 * self.bound / self.push * gradient.sign()).clamp(
                    clean - self.bound, clean + self.bound
                )
                x = x.clamp(0, 1)
            made.append(to_images(x))
        return torch.cat(made).to(images.device)
