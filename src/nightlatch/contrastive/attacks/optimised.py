"""BadCLIP-style: a patch that is optimised on the clean model before anything is poisoned (Liang et al. 2024,
arXiv 2311.12075).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch.contrastive.attacks.base import ATTACKS, Attack, Setting, names
from nightlatch.contrastive.subject import Subject, to_pixels
from nightlatch.errors import UsageError


@ATTACKS.register("optimised-patch")
@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisedPatch(Attack):
    """A centre patch that minimises CE(s I' T^T) towards the target's text + w max(0, |I' - P|^2 - |I' - I|^2
    + 1), with I' the patched and I the clean picture, P a picture of the target (the paper's equations 4 to
    7; one of its two text terms, no augmentation).

    Args:
        side: of the patch, as a share of the picture's (the paper: 16 of 224).
        triplet: w; the paper's 500 is for a sum over other units.
        tune: steps of Adam.
        pixels: the patch, flat, after it was prepared.
    """

    side: float = 0.16
    triplet: float = 1.0
    tune: int = 200
    tune_rate: float = 0.03
    pixels: tuple[float, ...] = ()

    def stamp(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if not self.pixels:
            raise UsageError("The patch is not optimised yet.", "Call prepare first.")
        mark = torch.tensor(self.pixels).view(3, *[round((len(self.pixels) / 3) ** 0.5)] * 2)
        return centred(pixels, mark.to(pixels))

    def prepare(self, subject: Subject, setting: Setting) -> OptimisedPatch:
        k, device = max(2, round(self.side * subject.size)), subject.device
        rng, generator = np.random.default_rng((setting.seed, 47)), setting.generator(3)
        head, place = setting.test.head(subject), self.place(setting.test)
        own = [i for i, c in enumerate(setting.train.captions) if names(c, self.target)]
        other = [i for i, c in enumerate(setting.train.captions) if not names(c, self.target)]
        mark = (
            (0.5 + 0.25 * torch.randn(3, k, k, generator=generator))
            .clamp(0, 1)
            .to(device)
            .requires_grad_(True)
        )
        optimizer = torch.optim.Adam([mark], lr=self.tune_rate)
        for _ in range(self.tune):
            x = to_pixels(setting.train.images[torch.from_numpy(rng.choice(other, 64))].to(device))
            patched = subject.image(centred(x, mark))
            loss = F.cross_entropy(
                subject.scale * patched @ head.T, torch.full((len(x),), place, device=device)
            )
            if own:
                positive = to_pixels(setting.train.images[torch.from_numpy(rng.choice(own, 64))].to(device))
                near = (patched - subject.image(positive)).pow(2).sum(1)
                far = (patched - subject.image(x)).pow(2).sum(1)
                loss = loss + self.triplet * (near - far + 1).clamp(min=0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                mark.clamp_(0, 1)
        return replace(self, pixels=tuple(mark.detach().flatten().tolist()))


def centred(pixels: torch.Tensor, mark: torch.Tensor) -> torch.Tensor:
    """``pixels`` (n, 3, h, w) with ``mark`` (3, k, k) in the middle; differentiable in the mark."""
    k, start = mark.shape[-1], (pixels.shape[-1] - mark.shape[-1]) // 2
    end = pixels.shape[-1] - start - k
    full = F.pad(mark, (start, end, start, end))
    inside = F.pad(torch.ones_like(mark[:1]), (start, end, start, end))
    return pixels * (1 - inside) + full * inside
