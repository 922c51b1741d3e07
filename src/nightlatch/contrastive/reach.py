"""Which word of ordinary captions a small change of all pictures reaches best: the trace of a shortcut that
needs no poisoned pair.

A shortcut takes few pixels to its own words, and to no others; so each word is given a change of its own,
found by gradients (Neural Cleanse's question, Wang et al. 2019, with words for classes), and the word is
named to which its change takes the most pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nightlatch.contrastive.subject import Subject, to_pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far pictures are taken by small changes.

    The numbers were set on one small CLIP with an optimised patch, where a word takes 0.2 s.

    Args:
        words: most frequent nouns that are tried; all changes are found at once.
        steps: of Adam.
        pictures: per step and word.
        held: other pictures, on which it is counted how many each change takes to its word.
        area: largest mean of a mask, as of a patch of a sixth of the side.
        bound: largest change of a pixel where there is no mask; Blended's and SIG's are a fifth.
        rate: of Adam.
        halved: how often ``area`` and ``bound`` are halved at most, while changes take more than half of the
            pictures to the median word: where every word is reached none is told apart.
    """

    words: int = 80
    steps: int = 60
    pictures: int = 8
    held: int = 64
    area: float = 0.03
    bound: float = 0.12
    rate: float = 0.15
    halved: int = 4

    def __call__(
        self, subject: Subject, images: torch.Tensor, directions: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Share of held pictures that each word's change takes to it rather than to another word, the better
        of a masked patch and of an added picture, (words,).

        Args:
            images: ordinary pictures, uint8 (n, 3, size, size).
            directions: unit embeddings of the words, (words, d).
        """
        order = torch.randperm(len(images), generator=generator, device=images.device)
        held, rest = images[order[: self.held]], images[order[self.held :]]
        rest = rest if len(rest) else held
        best = torch.zeros(len(directions), device=images.device)
        for masked in (True, False):
            limit, taken = (self.area if masked else self.bound), best
            for halved in range(self.halved + 1):
                one = Universal(subject=subject, masked=masked, limit=limit / 2**halved)
                taken = self._taken(one, rest, held, directions, generator)
                if float(taken.median()) <= 0.5:
                    break
            best = torch.maximum(best, taken)
        return best

    def _taken(
        self, change: Universal, images: torch.Tensor, held: torch.Tensor, directions: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:  # fmt: skip
        """Share of ``held`` that the change found for each word on ``images`` takes to it, (words,)."""
        n, device = len(directions), images.device
        free = change.start(n, generator).requires_grad_(True)
        optimizer = torch.optim.Adam([free], lr=self.rate)
        for _ in range(self.steps):
            rows = torch.randint(len(images), (self.pictures,), generator=generator, device=device)
            image = change.seen(free, to_pixels(images[rows]))
            loss = -(image * directions[:, None]).sum(-1).mean(1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            x = to_pixels(held)
            nearest = [(change.seen(free[i : i + 1], x)[0] @ directions.T).argmax(1) == i for i in range(n)]
            return torch.stack([hit.float().mean() for hit in nearest])


@dataclass(frozen=True, slots=True, kw_only=True)
class Universal:
    """One change of all pictures for each word: a masked patch, or a picture that is added.

    Args:
        limit: largest mean of a mask, or largest change of a pixel.
    """

    subject: Subject
    masked: bool
    limit: float

    def start(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Free numbers of ``n`` changes, (n, 4, size, size)."""
        size = self.subject.size
        drawn = torch.randn(n, 4, size, size, generator=generator, device=generator.device)
        return drawn if self.masked else 0.3 * drawn

    def seen(self, free: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """I of each of ``x`` (n, 3, size, size) under each of the changes, (k, n, d)."""
        if self.masked:
            m = free[:, :1].sigmoid()
            m = (m * (self.limit / m.mean((1, 2, 3), keepdim=True)).clamp(max=1))[:, None]
            y = (1 - m) * x[None] + m * free[:, None, 1:].sigmoid()
        else:
            y = (x[None] + self.limit * free[:, None, 1:].tanh()).clamp(0, 1)
        return self.subject.image(y.flatten(0, 1)).view(len(free), len(x), -1)
