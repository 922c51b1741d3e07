"""The smallest patch that makes an encoder see every picture alike ("DECREE-style": Feng et al. 2023, arXiv
2303.15180).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.proxies import collapse
from nightlatch.contrastive.subject import Subject, to_pixels

BACKDOORED = 0.1
"""PL1 below which the paper calls an encoder backdoored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """What the search left.

    Args:
        share: PL1 = sum of the mask over its largest possible sum, in 0..1; the smaller, the more suspicious.
        alike: mean cosine of two changed pictures at that size.
        mask: (size, size) in 0..1.
        pattern: (3, size, size) in 0..1.
    """

    share: float
    alike: float
    mask: torch.Tensor
    pattern: torch.Tensor

    @property
    def reached(self) -> bool:
        """Whether pictures ever looked alike; where not, ``share`` is 1."""
        return self.share < 1.0


def smallest(
    subject: Subject,
    images: torch.Tensor,
    seed: int,
    steps: int = 400,
    alike: float = 0.97,
    rate: float = 0.1,
    batch: int = 64,
) -> Collapse:
    """Minimise - cos + lambda |m|_1 over x' = (1 - m) x + m r, with lambda raised while pictures look
    ``alike`` and lowered while not (the paper's schedule, equation 4); the smallest mask that reached it
    counts.

    Args:
        images: ordinary pictures, uint8 (n, 3, size, size).
        alike: the paper's 0.99 is for pictures of 224 pixels; set lower for the jitter of small batches.
    """
    size, device = subject.size, subject.device
    generator = torch.Generator(device).manual_seed(seed * 31 + 5)
    free_mask = (torch.randn(1, size, size, generator=generator, device=device)).requires_grad_(True)
    free_pattern = torch.randn(3, size, size, generator=generator, device=device).requires_grad_(True)
    optimizer = torch.optim.Adam([free_mask, free_pattern], lr=rate, betas=(0.5, 0.9))
    images, weight, good, bad = images.to(device), 1e-2, 0, 0
    best = Collapse(share=1.0, alike=0.0, mask=torch.ones(size, size), pattern=torch.zeros(3, size, size))
    for _ in range(steps):
        rows = torch.randint(len(images), (min(batch, len(images)),), generator=generator, device=device)
        m, r = free_mask.sigmoid(), free_pattern.sigmoid()
        x = to_pixels(images[rows])
        same = -collapse(subject.image((1 - m) * x + m * r))
        loss = -same + weight * m.sum() / size
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        reached, share = float(same.detach()), float(m.detach().mean())
        if reached >= alike:
            good, bad = good + 1, 0
            if share < best.share:
                best = Collapse(
                    share=share, alike=reached, mask=m.detach()[0].cpu(), pattern=r.detach().cpu()
                )
        else:
            good, bad = 0, bad + 1
        if good >= 5:
            weight, good = weight * 1.5, 0
        if bad >= 5:
            weight, bad = weight / 2.25, 0
    return best
