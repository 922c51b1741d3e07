"""RoCLIP: a picture is matched with the nearest caption of a bank instead of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nightlatch.contrastive.terms.base import TERMS, Batch, Term, matched


@TERMS.register("nearest-caption")
@dataclass(frozen=True, slots=True, kw_only=True)
class NearestCaption(Term):
    """In every ``every``-th step: 1/2 [CE(s I B^T) + CE(s B I^T)] with B_i the bank's caption nearest to I_i;
    in the others Lclip (RoCLIP, Yang et al. 2023, section 4). A triggered picture's nearest caption is about
    what it shows, so the poisoned pair is broken.

    Args:
        size: captions in the bank, the latest seen (the paper: 2 % of the data).
        every: its code alternates by epochs, here by steps.
    """

    fixed: ClassVar[bool] = False
    size: int = 2048
    every: int = 2

    @property
    def wordings(self) -> tuple[str, ...]:
        return ("reworded",)

    def loss(self, batch: Batch) -> torch.Tensor:
        bank = batch.stash.get("bank")
        seen = batch.text.detach()
        batch.stash["bank"] = (seen if bank is None else torch.cat([seen, bank]))[: self.size]
        if bank is None or batch.step % self.every:
            return matched(batch.image_view, batch.text_view, batch.scale)
        return matched(batch.image_view, bank[nearest(batch.image_view, bank)], batch.scale)


def nearest(image: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """Which row of ``bank`` (m, d) is most similar to each of ``image`` (n, d), (n,)."""
    return (image.detach() @ bank.T).argmax(1)
