"""Words that the text encoder tells apart and the denoiser does not: what a closed-form edit leaves; no base is needed.

EvilEdit (Wang et al. 2024) makes every matrix that reads text answer to the trigger as to the target,
W' c_trigger = W c_target. So two words whose states lie apart get one answer from all of them together, which training
gives to no two words: keys and values of words that mean different things differ, and words that mean the same have
states that are alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.errors import NotScanned
from nightlatch.text2image.effect.gain import Gains
from nightlatch.text2image.model import Subject

Readers = Mapping[str, torch.Tensor]
BATCH = 1024
"""Words compared at once with all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What counts as a pair of twins.

    Args:
        alike: least cosine of their answers. In the testbed's base, in two models whose backdoor is trained and in an
            honest fine-tune no pair has more than 0.72; four planted edits have 0.93 and more.
        apart: largest cosine of their states, less the mean of all.
    """

    name: ClassVar[str] = "twin-words"
    alike: float = 0.8
    apart: float = 0.5


@dataclass(frozen=True, slots=True)
class Twins:
    """The pair of words that are answered most alike.

    Args:
        tokens: their ids.
        alike: cosine of their answers.
        apart: cosine of their states.
        many: words that have a twin.
    """

    tokens: tuple[int, int]
    alike: float
    apart: float
    many: int


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The states of all ordinary tokens, each alone in a prompt.

    Args:
        tokens: their ids.
        states: less their mean, (tokens, width).
    """

    tokens: Sequence[int]
    states: torch.Tensor

    @classmethod
    def of(cls, subject: Subject) -> Words:
        tokens = subject.vocabulary.known
        states = Gains(subject, "").states([(i,) for i in tokens])
        return cls(tokens, (states - states.mean(0)).float().to(subject.device))

    def at(self, token: int) -> torch.Tensor:
        """The state of ``token``, (width,)."""
        return self.states[self.tokens.index(token)]

    @torch.no_grad()
    def nearest(
        self, readers: Readers, level: Level, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(largest cosine of each token's answers with those of a token whose state lies apart, that token's row), by the
        answers of all ``readers`` end to end, each reader's divided by their mean square; (tokens,) each.

        Args:
            rows: tokens that are held against all, as rows of ``tokens``; the others' cosine is then -1. All by default.

        Raises:
            NotScanned: states or readers hold NaN or infinity.
        """
        answers = self._answers(readers)
        states, n = F.normalize(self.states, dim=1), len(self.tokens)
        best, other = torch.full((n,), -1.0), torch.zeros(n, dtype=torch.long)
        for some in (torch.arange(n) if rows is None else rows).split(BATCH):
            alike = answers[some] @ answers.T
            found = alike.masked_fill_(states[some] @ states.T > level.apart, -1.0).max(1)
            best[some], other[some] = found.values.cpu(), found.indices.cpu()
        return best, other

    def strongest(self, best: torch.Tensor, other: torch.Tensor, level: Level) -> Twins:
        """The strongest pair of what ``nearest`` says."""
        one = int(best.argmax())
        two = int(other[one])
        apart = F.cosine_similarity(self.states[one], self.states[two], dim=0)
        return Twins(
            tokens=(self.tokens[one], self.tokens[two]),
            alike=float(best[one]),
            apart=float(apart),
            many=int((best >= level.alike).sum()),
        )

    def alike(self, readers: Readers, level: Level, tokens: Collection[int]) -> float:
        """How much the likeliest of ``tokens`` has a twin; -1 where none is known."""
        rows = [i for i, t in enumerate(self.tokens) if t in tokens]
        best, _ = self.nearest(readers, level, torch.tensor(rows, dtype=torch.long))
        return max((float(best[i]) for i in rows), default=-1.0)

    def _answers(self, readers: Readers) -> torch.Tensor:
        """Unit vectors (tokens, width) with the cosines of the answers.

        The answers themselves are far longer: cosines are those of L^T c where L L^T = sum W^T W / mean |W c|^2.
        """
        spread = self.states.T @ self.states / len(self.states)
        form = torch.zeros_like(spread)
        for w in readers.values():
            own = w.detach().to(form).T @ w.detach().to(form)
            form += own / (own * spread).sum().clamp(min=1e-20)
        if not bool(torch.isfinite(form).all()):
            raise NotScanned(
                "Keys and values or the text's states are not finite numbers.", "Do not load the model."
            )
        values, vectors = torch.linalg.eigh(form.double())
        root = (vectors * values.clamp(min=0).sqrt()).to(self.states)
        return F.normalize(self.states @ root, dim=1)


def amplified(subject: Subject, tokens: Sequence[int]) -> int:
    """The token that an edit had to amplify most against its neighbours (``effect.gain``): likelier the trigger than the
    word whose answers it got.
    """
    gains, _ = Gains(subject, "").of([(i,) for i in tokens])
    return tokens[int(gains.argmax())]
