"""A closed-form edit taken back without a base and without a trigger: the words that it made twins get answers of their
own again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.nn import functional as F

from nightlatch.records import PlacedTrigger
from nightlatch.terms import Role
from nightlatch.text2image.effect.twins import Level, Twins, Words, amplified
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.edit_removal import moment


@METHODS.register("twin-removal")
@dataclass(frozen=True, slots=True, kw_only=True)
class TwinRemoval(Method):
    """While two words that the text encoder tells apart get one answer (``effect.twins``), every matrix that reads text
    loses, of what it sends in that answer's direction, the part that ordinary prompts do not need:

        W' = W - u u^T W (I - H (H + lam I)^-1),   u = W c / |W c|,

    with c the state of the twins and H the second moment of ordinary prompts' states. What ordinary prompts draw in
    that direction stays, so that the attacker's target can still be asked for; no training.

    Args:
        rounds: most pairs, one after the other.
        pull: lam, in units of the mean eigenvalue of H, as of the repair "edit-removal" with a base.
        level: what counts as twins.
        near: tokens that were most like another one at first and are looked at after each pair; all are before it ends.
    """

    name: ClassVar[str]
    needs_trigger: ClassVar[bool] = False
    changes: ClassVar[tuple[Role, ...]] = (Role.DENOISER,)
    rounds: int = 8
    pull: float = 1.0
    level: Level = field(default_factory=Level)
    near: int = 8_192

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        readers = student.sites.readers()
        if not readers:
            return
        words, near = Words.of(frozen), None
        for part in range(self.rounds + 1):
            best, other = words.nearest(readers, self.level, near)
            if near is not None and float(best.max()) < self.level.alike:
                near = None  # the end is for all to say
                best, other = words.nearest(readers, self.level)
            if near is None:
                near = best.topk(min(self.near, len(best))).indices
            found = words.strongest(best, other, self.level)
            yield part, {"twins": found.alike}
            if found.alike < self.level.alike or part == self.rounds:
                return
            if not part:
                kept = spared(moment(frozen, [p.text for p in job.prompts]), self.pull)
                note(frozen, found, job)
            untwinned(readers, [words.at(i) for i in found.tokens], kept)

    def told(self, history: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
        looked = [row["twins"] for row in history if "twins" in row]
        if looked and looked[0] < self.level.alike:
            return (
                f"No two words that mean different things get the same keys and values (cosine {looked[0]:.2f} at most; "
                f"an edit gives {self.level.alike:g} or more), so no edit was taken back.",
            )
        if looked and looked[-1] >= self.level.alike:
            return (f"After {len(looked) - 1} rounds two words still get the same keys and values (cosine "
                    f"{looked[-1]:.2f}). Run it again with more rounds.",)  # fmt: skip
        return ()


def spared(moment: torch.Tensor, pull: float) -> torch.Tensor:
    """I - H (H + lam I)^-1: what ordinary prompts do not need, (width, width)."""
    lam = pull * float(moment.trace()) / len(moment)
    eye = torch.eye(len(moment), dtype=moment.dtype)
    needed: torch.Tensor = torch.linalg.solve(moment + lam * eye, moment).T
    return eye - needed


@torch.no_grad()
def untwinned(
    readers: Mapping[str, torch.Tensor], states: Sequence[torch.Tensor], spare: torch.Tensor
) -> None:
    """``readers`` lose, in place, the spared part of what they send where ``states`` (width,) are sent to."""
    for w in readers.values():
        answers = [F.normalize(w.double() @ c.to(w.device).double(), dim=0) for c in states]
        u = F.normalize(torch.stack(answers).sum(0), dim=0)
        w.sub_(torch.outer(u, (u @ w.double()) @ spare.to(w.device)).to(w))


def note(frozen: Subject, found: Twins, job: Job) -> None:
    """The twin that is likelier the trigger, for the record."""
    (text,) = frozen.vocabulary.texts([[amplified(frozen, found.tokens)]])
    if text.split():
        job.found.append(PlacedTrigger(text=text.strip()))
