"""How a repaired model is searched for what is left of a backdoor, with a trusted base or without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nightlatch.records import PlacedTrigger
from nightlatch.terms import Role
from nightlatch.text2image import scan
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair.alike import Alike
from nightlatch.text2image.repair.rounds import Found

CHEAP = ("suggested", "answering-tokens", "edit-phrases")
"""Stages that take no beam of strings: all that was named before, every token by the weights' answer to it, and
phrases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanAgain:
    """A scan against a trusted base; what earlier ones named is tried first.

    Args:
        texts: all prompts of the run, parted as in the first scan.
        pictures: held-out prompts drawn of each string.
        stages: of the scan; () for all.
    """

    base: Subject
    texts: Sequence[Prompt]
    sampling: Sampling
    seed: int = 0
    pictures: int = 48
    stages: Sequence[str] = CHEAP
    say: Callable[[str], None] = print

    def __call__(self, model: Subject, hints: Sequence[str]) -> Found:
        """What is found in ``model``."""
        question = scan.Question(
            suspect=model,
            reference=scan.TrustedBase(base=self.base),
            texts=self.texts,
            sampling=self.sampling,
            seed=self.seed,
            hints=hints,
            say=self.say,
        )
        judge = scan.Judge(confirmation=scan.Confirmation(pictures=self.pictures))
        verdict = scan.scan(question, scan.plan.of(self.stages), judge)
        names = ", ".join(
            r.part.name for r in verdict.parts if r.part.name in scan.STAGES.names() and not r.skipped
        )
        return Found.of(verdict, f"scanned against {self.base.name}: {names or 'nothing differs'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StillActing:
    """Without a base: which strings still draw in a repaired model what the triggers drew in the suspect.

    Args:
        suspect: the model as it came.
        triggers: what was found in it.
        roles: what the components do through which they act.
        prompts: what the repair has seen; others are measured on.
    """

    suspect: Subject
    triggers: Sequence[PlacedTrigger]
    roles: Sequence[Role]
    prompts: Sequence[Prompt]
    seed: int = 0
    numbers: Alike = field(default_factory=Alike)

    def __call__(self, model: Subject, hints: Sequence[str]) -> Found:
        """What is found in ``model``."""
        started, left = time.monotonic(), dict[PlacedTrigger, None]()
        tried = 0
        for trigger in self.triggers:
            acting = self.numbers.on(self.suspect, trigger, self.prompts, self.seed + 1)
            strings = self.numbers.tried(acting, hints)
            tried += len(strings)
            left |= dict.fromkeys(self.numbers.still(acting, strings, model))
        return Found(
            triggers=tuple(left),
            roles=tuple(self.roles),
            strings=tuple(t.text for t in left),
            searched=f"{tried} strings by whether they still draw what the trigger drew, without a base",
            seconds=time.monotonic() - started,
        )
