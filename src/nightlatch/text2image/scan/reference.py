"""What a scan holds a suspect against: the answers that a model without the backdoor would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

import torch

from nightlatch.records import ComponentChange
from nightlatch.terms import ChangePattern, Role
from nightlatch.text2image.effect.displacement import Compared
from nightlatch.text2image.effect.edit import Edit
from nightlatch.text2image.model import Condition, Sampling, Subject
from nightlatch.text2image.model.vocabulary import Ids
from nightlatch.text2image.scan.fingerprint import Fingerprint

NEARLY_ALL = 0.9
"""Part of a denoiser's squared change that its readers hold after an edit; training leaves them less."""


@dataclass(frozen=True, eq=False)
class WeightDelta:
    """How a suspect's weights differ from a trusted base's.

    Args:
        rows: one per component, changed or not.
    """

    suspect: Subject
    base: Subject
    rows: tuple[ComponentChange, ...]

    @cached_property
    def components(self) -> tuple[str, ...]:
        """The names of the components that differ, in the model's order."""
        return tuple(r.component for r in self.rows if r.changed)

    @cached_property
    def roles(self) -> frozenset[Role]:
        """What the components do that differ."""
        return frozenset(r.role for r in self.rows if r.changed and r.role is not None)

    @cached_property
    def edit(self) -> Edit:
        """What was added to the denoiser's readers."""
        return Edit.between(self.suspect.sites.readers(), self.base.sites.readers())

    @property
    def edits_readers(self) -> bool:
        """Whether the denoiser's change is that of its readers, or nearly all of it: a closed-form edit.

        Nearly all, so that a nudge to some other tensor does not hide it.
        """
        patterns = {r.pattern for r in self.rows if r.role is Role.DENOISER}
        if Role.DENOISER not in self.roles or patterns == {ChangePattern.CROSS_ATTENTION}:
            return Role.DENOISER in self.roles
        mine, theirs = (
            [p for m in s.modules(Role.DENOISER) for p in m.parameters()] for s in (self.suspect, self.base)
        )
        whole = sum(
            float((a - b).pow(2).sum()) for a, b in zip(mine, theirs, strict=True) if a.shape == b.shape
        )
        return float(torch.trace(self.edit.change)) > NEARLY_ALL * whole


class Reference(Compared, Protocol):
    """The null hypothesis that a string is held against."""

    name: ClassVar[str]

    @property
    def called(self) -> str:
        """What people call it; '' where there is no other model."""

    def delta(self, suspect: Subject) -> WeightDelta | None:
        """How the suspect's weights differ; None where there are no weights to compare them with."""

    def aligned(self, suspect: Subject) -> Subject:
        """The suspect with the noise levels that both are compared on."""

    def reread(self, suspect: Subject) -> tuple[str, ...]:
        """Texts that the suspect's tokenizer reads in another way than it should."""

    def draw(
        self, texts: Sequence[str], seeds: Sequence[int], sampling: Sampling, trigger: str = ""
    ) -> torch.Tensor:
        """Latents for ``texts``, which may hold ``trigger``, as they should be, (n, channels, h, w)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrustedBase:
    """Another model, which the suspect was made from and nobody has tampered with.

    Args:
        base: the model.
        fingerprint: how the weights of the two are compared.
        batch: texts read by both tokenizers at once.
    """

    name: ClassVar[str] = "trusted-base"
    base: Subject
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    batch: int = 2048

    @property
    def called(self) -> str:
        return self.base.name

    @property
    def model(self) -> Subject:
        return self.base

    def delta(self, suspect: Subject) -> WeightDelta:
        return WeightDelta(suspect, self.base, self.fingerprint(suspect, self.base))

    def aligned(self, suspect: Subject) -> Subject:
        same = suspect.settings.get("scheduler") == self.base.settings.get("scheduler")
        return suspect if same else suspect.replaced({}, schedule=self.base.schedule)

    def reread(self, suspect: Subject) -> tuple[str, ...]:
        """Texts of single tokens of either vocabulary that the two tokenizers do not turn into the same ids.

        A tokenizer that rewrites words, or has tokens of its own, is a carrier that no weight shows.
        """
        both = (suspect.vocabulary, self.base.vocabulary)
        texts, differ = sorted({t for v in both for t in v.texts([i] for i in v.ordinary)}), list[str]()
        for i in range(0, len(texts), self.batch):
            some = texts[i : i + self.batch]
            mine, theirs = (v.typed(some) for v in both)
            differ += [t for t, a, b in zip(some, mine, theirs, strict=True) if a != b]
        return tuple(differ)

    def ids(
        self, sequences: Sequence[Sequence[int]], context: str, *, before: str = "", padded: bool = True
    ) -> Ids:
        return self.base.vocabulary.framed(sequences, context, before=before, padded=padded)

    def read(self, texts: Sequence[str], trigger: str = "") -> Condition:
        return self.base.read(texts)

    def draw(
        self, texts: Sequence[str], seeds: Sequence[int], sampling: Sampling, trigger: str = ""
    ) -> torch.Tensor:
        return self.base.latents(texts, seeds, sampling)
