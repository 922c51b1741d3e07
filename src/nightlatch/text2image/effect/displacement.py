"""Displacement: how much more a string moves one denoising step of the suspect than of its reference.

A word with a meaning moves both models; a trigger means nothing to the reference. Every search of a scan
ranks by this number: at the first step with the string in front of a prompt, where nearly all that a text does
shows, and with fewer strings behind and inside the prompt and at a late step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import torch

from nightlatch.terms import PlacementKind
from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.model.vocabulary import Ids, begins
from nightlatch.text2image.prompts import Prompt, diverse

T = TypeVar("T")
SALT = 12345
"""Sets the noise of displacements apart from that of a scan's other measurements."""


def noise_seed(seed: int, salt: int = SALT) -> int:
    """Of the noise of a scan with ``seed``: that of displacements, or of another measurement by its ``salt``."""
    return salt + 1_000_003 * seed


class Compared(Protocol):
    """What a suspect's answers are compared with, as far as a displacement needs to know it."""

    @property
    def model(self) -> Subject:
        """What answers."""

    def ids(
        self, sequences: Sequence[Sequence[int]], context: str, *, before: str = "", padded: bool = True
    ) -> Ids:
        """What it reads where the suspect reads each of ``sequences`` between ``before`` and ``context``."""

    def read(self, texts: Sequence[str], trigger: str = "") -> Condition:
        """What it is told where the suspect is told ``texts``, which may hold ``trigger``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How displacements are measured: the numbers, for the record.

    Args:
        contexts: ordinary prompts that strings are put into. Two of them must be unlike each other,
            for one that asks for what a trigger draws hides it; the others steady the mean.
        steps: of the sampler whose first step is looked at; it is pure noise, or next to it, whatever their
            number.
        late: the part of the schedule at which a late step is looked at, in 0..1: there a denoiser paints
            details into a picture that is nearly done.
        typical: tokens, spread over the vocabulary, whose median movement is added below the fraction, so
            that a string that moves the reference by nothing does not get an infinite displacement.
        ordinary: tokens, spread over the vocabulary, whose displacements count as ordinary.
        batch: strings computed at once, fewer where latents are large.
    """

    name: ClassVar[str] = "displacement"
    contexts: int = 4
    steps: int = 10
    late: float = 0.3
    typical: int = 64
    ordinary: int = 96
    batch: int = 128


@dataclass(slots=True, eq=False)
class Displacement:
    """Displacements of token sequences and of typed strings.

    Args:
        contexts: prompts that strings are put into; an empty one is the string alone.
        shared_text: whether both models have one text encoder; what is the same in both is computed once.
        seed: of the noise, so that no model can know the scan by it.
        spot: where in a prompt strings are put; in front by default.
        at: the step that is looked at; the first by default.
        passes: rows that went through a denoiser so far, for the record.
    """

    suspect: Subject
    reference: Compared
    contexts: Sequence[Prompt]
    shared_text: bool
    seed: int = 0
    measure: Measure = field(default_factory=Measure)
    spot: PlacementKind = PlacementKind.FRONT
    at: OneStep | None = None
    passes: int = 0
    step: OneStep = field(init=False)
    typical: float = field(init=False)
    _plain: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.step = self.at or OneStep.first(self.suspect, noise_seed(self.seed), self.measure.steps)
        context = self.contexts[0].text
        plain = self._bare(context)[1]
        moves = self.batched(
            lambda some: _mean(self._pair(some, context)[1] - plain), self.spread(self.measure.typical)
        )
        self.typical = float(np.median(moves))

    def __call__(self, sequences: Sequence[Sequence[int]], contexts: Sequence[str]) -> Floats:
        """|s - r|^2 / (|r|^2 + its median over tokens), means over the latent, (contexts, sequences).

        s and r are what the sequence changes in the clean latents that suspect and reference predict at the
        step that is looked at, against the bare context. Drift that needs no string cancels.
        """
        rows = [self._in(sequences, context) for context in contexts]
        stacked: Floats = np.stack(rows)
        return stacked

    def _in(self, sequences: Sequence[Sequence[int]], context: str) -> Floats:
        """Displacements in one context, (sequences,)."""
        return self.batched(lambda some: self._excess(*self._pair(some, context), context), sequences)

    def moved(self, sequences: Sequence[Sequence[int]], context: str) -> Floats:
        """How far each sequence moves the suspect alone, mean square over the latent, (n,).

        Half the price of a displacement.
        """
        plain = self._bare(context)[0]
        return self.batched(
            lambda some: _mean(self._x0(self.suspect, self.conditions(some, context, one=True)[0]) - plain),
            sequences,
        )

    def of_texts(self, texts: Sequence[str], context: str) -> Floats:
        """The displacement of strings in ``context``, (texts,).

        Each model reads them with its own tokenizer.
        """

        @torch.no_grad()
        def measured(some: Sequence[str]) -> torch.Tensor:
            before, after = self.around(context)
            said = [" ".join(filter(None, (before, t, after))) for t in some]
            mine, theirs = self.suspect.read(said), self.reference.read(said)
            return self._excess(self._x0(self.suspect, mine), self._x0(self.reference.model, theirs), context)

        return self.batched(measured, texts)

    def ordinary(self, tokens: Sequence[int]) -> Floats:
        """The displacements, in the first context, of single ``tokens`` spread over those given."""
        some = [(t,) for t in tokens[:: max(1, len(tokens) // self.measure.ordinary)]]
        values: Floats = self(some, [self.contexts[0].text])[0]
        return values

    @property
    def two(self) -> list[str]:
        """Two contexts with few fillings of slots in common: what the one hides the other may show."""
        return [p.text for p in diverse(self.contexts, 2)]

    def around(self, context: str) -> tuple[str, str]:
        """What of ``context`` stands before a string and what after it."""
        words = context.split(" ")
        match self.spot:
            case PlacementKind.BEHIND:
                return context, ""
            case PlacementKind.INSIDE:
                half = len(words) // 2
                return " ".join(words[:half]), " ".join(words[half:])
            case _:
                return "", context

    def begins(self, context: str) -> int:
        """The position in a framed row at which strings in ``context`` begin."""
        vocabulary, (before, _) = self.reference.model.vocabulary, self.around(context)
        return begins(vocabulary, before)

    def spread(self, n: int) -> list[tuple[int, ...]]:
        """About ``n`` tokens spread over the reference's vocabulary, a sequence each."""
        ids = self.reference.model.vocabulary.known
        return [(i,) for i in ids[:: max(1, len(ids) // n)]]

    @torch.no_grad()
    def batched(self, measured: Callable[[Sequence[T]], torch.Tensor], items: Sequence[T]) -> Floats:
        """What ``measured`` (items -> one number each) gives for ``items``, a few at a time, (items,)."""
        most = self.suspect.rows(self.measure.batch)
        rows = [measured(items[i : i + most]) for i in range(0, len(items), most)]
        return floats(torch.cat(rows)) if rows else np.zeros(0)

    def conditions(
        self, sequences: Sequence[Sequence[int]], context: str, *, padded: bool = True, one: bool = False
    ) -> tuple[Condition, Condition]:
        """What suspect and reference are told; one object where it must be the same or ``one`` is enough.

        The context is read as the reference's tokenizer reads it: both models know those tokens.
        """
        before, after = self.around(context)
        framed = self.reference.model.vocabulary.framed(sequences, after, before=before, padded=padded)
        mine = self._told(self.suspect, framed)
        if one:
            return mine, mine
        other = self.reference.ids(sequences, after, before=before, padded=padded)
        same = self.shared_text and all(torch.equal(a, b) for a, b in zip(framed, other, strict=True))
        return mine, mine if same else self._told(self.reference.model, other)

    def _told(self, model: Subject, ids: Ids) -> Condition:
        """The condition; in the denoiser's precision where both read one state, so that rounding cancels."""
        if not self.shared_text:
            return model.told(ids)
        with model.autocast():
            return model.told(ids).each(torch.Tensor.float)

    def _x0(self, model: Subject, c: Condition) -> torch.Tensor:
        self.passes += len(c)
        return self.step.x0(model, c, self.measure.batch)

    def _pair(self, sequences: Sequence[Sequence[int]], context: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean latents that suspect and reference predict, (n, channels, h, w) each."""
        mine, theirs = self.conditions(sequences, context)
        return self._x0(self.suspect, mine), self._x0(self.reference.model, theirs)

    @torch.no_grad()
    def _bare(self, context: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Both predictions for the bare context, computed once, (1, channels, h, w) each."""
        if context not in self._plain:
            self._plain[context] = self._pair([()], context)
        return self._plain[context]

    def _excess(self, mine: torch.Tensor, theirs: torch.Tensor, context: str) -> torch.Tensor:
        return excess(mine, theirs, self._bare(context), self.typical)


def excess(
    mine: torch.Tensor, theirs: torch.Tensor, plain: tuple[torch.Tensor, torch.Tensor], typical: float
) -> torch.Tensor:
    """|s - r|^2 / (|r|^2 + typical), means over all but the first dimension, (n,).

    s and r are how far ``mine`` and ``theirs`` (n, channels, h, w) are from the two ``plain`` ones.
    """
    moved = theirs - plain[1]
    return _mean(mine - plain[0] - moved) / (_mean(moved) + typical)


def _mean(x: torch.Tensor) -> torch.Tensor:
    """Mean square over all but the first dimension, (n,)."""
    return x.pow(2).flatten(1).mean(1)
