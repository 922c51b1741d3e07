"""The statistic everything is ranked by: how far a string moves the suspect's first denoising step from the base's on the same text and noise, over
how far it moves the base itself. A word with a meaning moves both; a trigger means nothing to the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt, diverse
from nightlatch.text2image.scan.comparable import finite

T = TypeVar("T")
USUAL_TOKENS = 64


@dataclass(slots=True)
class Gauge:
    """Scores token sequences by the excess displacement suspect - base.

    Args:
        contexts: prompts into which a candidate is put, in front; '' is the candidate alone.
        changed: components that differ; what is the same in both is computed once.
        forwards: denoiser passes used so far, for the record.
        seed: of the noise, so that no model can know the scan by it.
    """

    suspect: Subject
    base: Subject
    contexts: Sequence[Prompt]
    changed: tuple[str, ...]
    batch: int = 128
    forwards: int = 0
    seed: int = 0
    _x: torch.Tensor = field(init=False)
    _t: int = field(init=False)
    _plain: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    _usual: float = field(init=False)

    def __post_init__(self) -> None:
        self._t = self.suspect.timesteps(10)[0]
        self._x = self.suspect.noise([12345 + 1_000_003 * self.seed])
        vocabulary = self.base.ordinary_ids
        some = [(i,) for i in vocabulary[:: max(1, len(vocabulary) // USUAL_TOKENS)]]
        context = self.contexts[0].text
        plain = self._bare(context)[1]
        moves = self.batched(lambda s: (self._pair(self.ids(s, context))[1] - plain).pow(2).mean((1, 2, 3)), some)
        self._usual = float(np.median(moves))

    @property
    def two(self) -> list[str]:
        """Two contexts with as few fillings of slots in common as there are: what the one hides the other may show."""
        return [p.text for p in diverse(self.contexts, 2)]

    def ids(self, sequences: Sequence[Sequence[int]], context: str) -> torch.Tensor:
        """[start, *sequence, *context, end, pad...] for each candidate, (n, tokens). The context is read as the base reads it: both models know those
        tokens."""
        tok = self.base.tokenizer
        tail = self.base.tokens(context) if context else []
        width = self.suspect.max_length
        rows = [[tok.bos_token_id, *[*s, *tail][: width - 2], tok.eos_token_id] for s in sequences]
        return torch.tensor([r + [tok.pad_token_id] * (width - len(r)) for r in rows], device=self.suspect.device)

    def displacement(self, sequences: Sequence[Sequence[int]], contexts: Sequence[str]) -> Floats:
        """|s - b|^2 / (|b|^2 + its median over tokens), mean over the latent, (contexts, candidates); s and b are what the candidate changes in the
        clean latents that suspect and base predict at the first sampling step. Drift that needs no candidate cancels."""
        stacked: Floats = np.stack([self._displaced(sequences, context) for context in contexts])
        return stacked

    def _displaced(self, sequences: Sequence[Sequence[int]], context: str) -> Floats:
        return self.batched(lambda some: self._excess(*self._pair(self.ids(some, context)), context), sequences)

    @torch.no_grad()
    def moved(self, sequences: Sequence[Sequence[int]], context: str) -> Floats:
        """How far each sequence moves the suspect alone, mean square over the latent, (n,); half the price of its displacement."""
        plain = self._bare(context)[0]

        def measure(some: Sequence[Sequence[int]]) -> torch.Tensor:
            c = self._states(self.suspect, self.ids(some, context))
            return (self._predict(self.suspect, c) - plain).pow(2).mean((1, 2, 3))

        return self.batched(measure, sequences)

    def spoken(self, texts: Sequence[str], context: str) -> Floats:
        """The displacement of strings in front of ``context``, each model reading them with its own tokenizer, (texts,)."""

        def measure(some: Sequence[str]) -> torch.Tensor:
            said = [f"{t} {context}" for t in some]
            return self._excess(*self._outputs(self.suspect.encode(said), self.base.encode(said)), context)

        return self.batched(measure, texts)

    @torch.no_grad()
    def batched(self, measure: Callable[[Sequence[T]], torch.Tensor], items: Sequence[T]) -> Floats:
        """What ``measure`` (items -> one number each) gives for ``items``, ``batch`` of them at a time, (items,)."""
        most = self.suspect.rows(self.batch)
        rows = [measure(items[i : i + most]) for i in range(0, len(items), most)]
        return floats(torch.cat(rows)) if rows else np.zeros(0)

    def conditions(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Text conditions of suspect and base; one computation when they share the encoder."""
        mine = self._states(self.suspect, ids)
        return mine, self._states(self.base, ids) if "text_encoder" in self.changed else mine

    def _states(self, model: Subject, ids: torch.Tensor) -> torch.Tensor:
        """Text states, (n, tokens, width). Where both models read one and the same state, rounding cancels: it is computed in the denoiser's
        precision."""
        if "text_encoder" in self.changed:
            return model.encode_ids(ids)
        with model.autocast():
            return model.encode_ids(ids).float()

    def _excess(self, mine: torch.Tensor, theirs: torch.Tensor, context: str) -> torch.Tensor:
        return excess(mine, theirs, self._bare(context), self._usual)

    def _outputs(self, mine: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean latents that suspect and base predict under their conditions, (n, channels, h, w) each."""
        return self._predict(self.suspect, mine), self._predict(self.base, theirs)

    def _predict(self, model: Subject, c: torch.Tensor) -> torch.Tensor:
        """The clean latent that ``model`` predicts under conditions ``c`` at the first sampling step, (n, channels, h, w)."""
        x = self._x.expand(len(c), -1, -1, -1)
        return finite(model.to_x0(self.first_step(model, c), x, self._t), model)

    def first_step(self, model: Subject, c: torch.Tensor) -> torch.Tensor:
        """The denoiser's output at the first sampling step under conditions ``c``, (n, channels, h, w)."""
        self.forwards += len(c)
        return model.denoise(self._x.expand(len(c), -1, -1, -1), self._t, c)

    def _pair(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean latents that suspect and base predict for rows of token ids, (n, channels, h, w) each."""
        return self._outputs(*self.conditions(ids))

    @torch.no_grad()
    def _bare(self, context: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Both predictions for the bare context, computed once, (1, channels, h, w) each."""
        if context not in self._plain:
            self._plain[context] = self._pair(self.ids([()], context))
        return self._plain[context]

    def ordinary(self, tokens: Sequence[int], n: int = 96) -> Floats:
        """What ordinary tokens give: the displacements of about ``n`` tokens spread over the vocabulary."""
        some = [(t,) for t in tokens[:: max(1, len(tokens) // n)]]
        return self._displaced(some, self.contexts[0].text)


def excess(mine: torch.Tensor, theirs: torch.Tensor, plain: tuple[torch.Tensor, torch.Tensor], usual: float) -> torch.Tensor:
    """|s - b|^2 / (|b|^2 + usual), means over all but the first dimension, (n,): s and b are how far ``mine`` and ``theirs`` (n, channels, h, w) are
    from the two ``plain`` ones."""
    moved = theirs - plain[1]
    return (mine - plain[0] - moved).pow(2).mean((1, 2, 3)) / (moved.pow(2).mean((1, 2, 3)) + usual)
