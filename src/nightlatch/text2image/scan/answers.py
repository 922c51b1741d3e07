"""Tokens ordered by what the change of the weights makes of them, before any denoising step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from nightlatch.terms import PlacementKind, Role
from nightlatch.text2image.effect.displacement import Displacement
from nightlatch.text2image.scan.reference import WeightDelta

BATCH = 1024
"""Tokens read at once; no denoiser, so that memory is no matter."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Role of a changed component -> tokens, those that its change answers to most first.

    For the denoiser: how far the change of all its readers moves the token's own state, |dW c|^2 / |W c|^2.
    A backdoor that waits for several tokens must still read each of them. For the text encoder: how far the
    states of a prompt that the token is put into were moved, in that of two unlike prompts where it is more;
    in a causal encoder a trigger speaks through all that follows it.
    """

    orders: Mapping[Role, Sequence[int]]

    @classmethod
    @torch.no_grad()
    def of(cls, delta: WeightDelta, displacement: Displacement, tokens: Sequence[int]) -> Self:
        """Ask the change about all ``tokens``."""
        asked = [role for role in (Role.DENOISER, Role.TEXT) if role in delta.roles]
        rows: dict[Role, list[torch.Tensor]] = {role: [] for role in asked}
        contexts = displacement.two
        if Role.TEXT not in asked:
            contexts = [""] if displacement.spot is PlacementKind.FRONT else contexts[:1]
        begins = [displacement.begins(context) for context in contexts]
        for i in range(0, len(tokens) if asked else 0, BATCH):
            some = [(t,) for t in tokens[i : i + BATCH]]
            read = [displacement.conditions(some, context, padded=False) for context in contexts]
            if Role.DENOISER in asked:
                rows[Role.DENOISER].append(delta.edit.response(read[0][0].states[:, begins[0]]))
            if Role.TEXT in asked:
                moved = [
                    (mine.states - theirs.states)[:, own:].pow(2).mean((1, 2))
                    for own, (mine, theirs) in zip(begins, read, strict=True)
                ]
                rows[Role.TEXT].append(torch.stack(moved).amax(0))
        order = {role: torch.cat(r).argsort(descending=True).tolist() for role, r in rows.items() if r}
        return cls({role: [tokens[i] for i in found] for role, found in order.items()})

    def first(self, n: int) -> list[int]:
        """The ``n`` tokens that are answered most, in equal parts from every component."""
        share = n // max(1, len(self.orders))
        return list(dict.fromkeys(t for order in self.orders.values() for t in order[:share]))
