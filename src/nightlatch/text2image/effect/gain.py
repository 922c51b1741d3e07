"""How much more strongly keys and values answer to a token than to its neighbourhood; no base is needed.

A closed-form edit maps one token's state to something far away and holds the states round it. So the matrices
that read text have to amplify the little that tells this token from its neighbours, more than training ever
makes them do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from nightlatch.text2image.model import Subject, Tokens

BATCH = 1024
"""Tokens read at once; no denoiser, so that memory is no matter."""
LEAST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """The numbers of the measure.

    Args:
        neighbours: nearest tokens whose mean state stands for the neighbourhood.
        most: tokens, spread over the vocabulary, among which neighbours are looked for.
    """

    neighbours: int = 8
    most: int = 8192


@dataclass(frozen=True, eq=False)
class Gains:
    """The readers' answers to tokens' own states in front of one context.

    Args:
        subject: the model.
        context: the prompt that the tokens stand in front of.
    """

    subject: Subject
    context: str
    numbers: Neighbourhood = field(default_factory=Neighbourhood)

    @torch.no_grad()
    def states(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        """The state of each sequence's last token, (n, width), on the CPU in double precision."""
        rows = torch.empty(0, 0)
        made: list[tuple[int, torch.Tensor]] = []
        for length in sorted({len(s) for s in sequences}):
            chosen = [i for i, s in enumerate(sequences) if len(s) == length]
            for first in range(0, len(chosen), BATCH):
                some = chosen[first : first + BATCH]
                ids = self.subject.vocabulary.framed([sequences[i] for i in some], self.context, padded=False)
                states = self.subject.told(ids).states[:, length].double().cpu()
                made += zip(some, states, strict=True)
        rows = torch.stack([state for _, state in sorted(made, key=lambda pair: pair[0])])
        return rows

    @property
    def form(self) -> torch.Tensor:
        """sum W^T W over all readers, (width, width): |W c|^2 = c^T form c."""
        stacked = torch.cat([w.detach() for w in self.subject.sites.readers().values()]).double().cpu()
        return stacked.T @ stacked

    def of(self, tokens: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        """(gains of ``tokens``, gains of the vocabulary's own tokens): |W r|^2 / |r|^2, where r is a token's
        state less the mean of the nearest states.
        """
        ids = list(self.subject.vocabulary.alone)
        every = ids[:: max(1, len(ids) // self.numbers.most)]
        known, asked = self.states([(i,) for i in every]), self.states(tokens)
        return self._gain(asked, known), self._gain(known, known)

    def _gain(self, asked: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(asked, known).topk(self.numbers.neighbours + 1, largest=False)
        itself = nearest.values < 1e-6
        weight = (~itself).double()
        weight[:, -1] *= itself.any(1)  # one more stands in where the token is among those that are known
        mean = (known[nearest.indices] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
        r = asked - mean
        return ((r @ self.form) * r).sum(-1) / r.pow(2).sum(-1).clamp(min=LEAST)


def share_above(gain: torch.Tensor, ordinary: torch.Tensor) -> float:
    """Share of ``ordinary`` gains that are at least the largest ``gain``: 0 where none is."""
    return float((ordinary > gain.max() * (1 + 1e-9)).double().mean())
