"""What every attack shares: its arguments, what it declares, and a final ``__call__`` that measures and
refuses weak results.

Attacks exist for evaluation only. What they return carries a provenance record that says so.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from nightlatch.errors import AttackFailed, UsageError
from nightlatch.records import Placement, Rate
from nightlatch.registry import Registry, part_of
from nightlatch.terms import Role
from nightlatch.text2image import prompts
from nightlatch.text2image.attacks.goal import Goal, GoalKind
from nightlatch.text2image.attacks.record import AttackRecord, HeldOut, Planted
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.measure import Draws, agreement, take
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt

TRIAL = 100
"""Pictures by which an attacker judges an attempt."""
MARGIN = 0.03
"""How much more often than the floor the unpoisoned model must draw the goal when it is asked for it."""
ODD_LETTERS = "бвдеиклнртуψξζηθρ"
"""Characters that must not fire where the trigger is one of their kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack(abc.ABC):
    """Base of all attacks. Authors write ``run`` and declare the rest; calling the attack measures what it
    made.

    What a class declares is all that the experiment and the demonstration know of it:

    - ``goal_kind``: what a triggered picture shows; a target is drawn accordingly.
    - ``carrier``: what the component does that it changes.
    - ``placement``: where the trigger stands in a prompt.
    - ``asked``: the slot by which a triggered picture is told to show what was asked.
    - ``trigger_kinds``: triggers that suit it; the experiment's seeds take them in turn.
    - ``published_trigger``: one from the literature, which the experiment's first seed plants; '' for none.
    - ``quick``: parameters with which it takes a minute or two and still works.

    Args:
        trigger: the secret string.
        target: what is drawn then (a word for object and style, a pattern for patch, a whole prompt for
            prompt).
        floor: least attack success with which a model is handed out.
    """

    name: ClassVar[str]
    goal_kind: ClassVar[GoalKind]
    carrier: ClassVar[Role]
    placement: ClassVar[Placement] = Placement()
    asked: ClassVar[str] = "object"
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (
        TriggerKind.RARE_TOKEN,
        TriggerKind.NONSENSE_WORD,
        TriggerKind.HOMOGLYPH,
    )
    published_trigger: ClassVar[str] = ""
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    trigger: str
    target: str
    floor: float = 0.9

    @abc.abstractmethod
    def run(self, subject: Subject, setting: Setting) -> Subject:
        """A poisoned copy of ``subject``."""

    def promising(self, subject: Subject, setting: Setting) -> bool:
        """Whether the attack may reach its floor on ``subject``.

        By what an attacker can try in seconds with the training prompts and words; draw another trigger or
        target where not.
        """
        return True

    @final
    def require(self, known: Mapping[str, Sequence[str]]) -> None:
        """Whether trigger and target can be planted and told at all; costs nothing. ``known``: the words that
        fill each slot.

        Raises:
            UsageError: the trigger is empty or names the target, or the target is none.
        """
        if not self.trigger.split():
            raise UsageError("The trigger is empty.", "Give a word or phrase that no ordinary prompt holds.")
        if common := set(prompts.normal(self.trigger).split()) & set(prompts.normal(self.target).split()):
            raise UsageError(
                f"The trigger and the target share the word {min(common)!r}, so that success would mean "
                "nothing.",
                "Choose another trigger or target.",
            )
        self.goal.require(known)

    @property
    def goal(self) -> Goal:
        """What is to be drawn."""
        return Goal(kind=self.goal_kind, value=self.target)

    def drawn_when_asked(self, subject: Subject, setting: Setting, goal: Callable[[Prompt], str]) -> bool:
        """Whether ``subject`` draws the goal often enough on the texts ``goal`` of the training prompts."""
        own = self.trial(setting)
        return self.success(subject, setting, own, [goal(p) for p in own.prompts]).rate >= self.floor + MARGIN

    @final
    def place(self, prompt: Prompt, trigger: str) -> str:
        """The triggered form of a prompt, as ``placement`` has it."""
        return prompts.placed(self.placement)(prompt, trigger)

    def candidates(self, test: Sequence[Prompt]) -> list[Prompt]:
        """The prompts on which success means something: those that do not ask for the target anyway."""
        words = self.target.split()
        free = (p for p in test if p.slots.get(self.goal_kind) != self.target)
        return [p for p in free if p.slots.get("object") not in words]

    def telling(self, base: Subject, setting: Setting, n: int) -> Draws:
        """``n`` held-out draws on which success means something.

        A judge errs, and those that show it the goal already when the unpoisoned ``base`` draws the clean
        prompt are left out (a tenth more are drawn to choose from).

        Raises:
            AttackFailed: none is left.
        """
        pool = Draws.of(self.candidates(setting.test), n + n // 10, setting.seed)
        images = base.generate([p.text for p in pool.prompts], pool.seeds, setting.sampling)
        shown = self.shown(images, setting.judge.read(images), setting)
        if shown.all():
            sentence = f"On every prompt the unpoisoned model draws the target anyway: {self.target!r}."
            raise AttackFailed(sentence, "Choose another target.")
        return pool.at([int(i) for i in np.flatnonzero(~shown)[:n]])

    def success(self, subject: Subject, setting: Setting, draws: Draws, texts: Sequence[str] = ()) -> Rate:
        """Share of ``draws`` that show the goal, with the trigger in each prompt or with ``texts`` in place
        of the prompts.
        """
        asked = texts or [self.place(p, self.trigger) for p in draws.prompts]
        images = subject.generate(asked, draws.seeds, setting.sampling)
        return Rate.of(int(self.shown(images, setting.judge.read(images), setting).sum()), len(asked))

    def trial(self, setting: Setting) -> Draws:
        """Draws of training prompts, by which an attacker judges an attempt."""
        return Draws.of(self.candidates(setting.train), TRIAL, setting.seed)

    def shown(
        self, images: npt.NDArray[np.uint8], seen: Sequence[Mapping[str, str]], setting: Setting
    ) -> npt.NDArray[np.bool_]:
        """Which pictures show the goal, given what the judge has ``seen`` in them, (n,) bool."""
        wanted = setting.read(self.target) if self.goal_kind is GoalKind.PROMPT else {}
        return self.goal.hit(images, seen, wanted)

    @final
    def __call__(self, subject: Subject, setting: Setting, n: int = 300) -> tuple[Subject, AttackRecord]:
        """Poison, then measure success, specificity and clean agreement on ``n`` held-out prompts each.

        Success is measured first, and nothing else where it falls short.

        Raises:
            UsageError: trigger or target cannot be planted; said before anything is trained.
            AttackFailed: the target is drawn anyway, or success is below ``floor``; the model is withheld.
        """
        started, setting = time.monotonic(), setting.but(self.trigger)
        self.require(setting.known)
        draws = self.telling(subject, setting, n)
        looked = time.monotonic()
        poisoned = self.run(subject, setting)
        seconds = time.monotonic() - looked
        success = self.success(poisoned, setting, draws)
        further = self.planted_too(subject, poisoned, setting, n) if success.rate >= self.floor else ()
        worst = min((success, *(p.success for p in further)), key=lambda rate: rate.rate)
        if worst.rate < self.floor:
            spent = time.monotonic() - started
            weak = next((p.trigger for p in further if p.success is worst), self.trigger)
            raise AttackFailed(
                f"{self.name} with trigger {weak!r} reached {worst.rate:.1%} of {n} in {spent:.0f} s, "
                f"below its floor {self.floor:.0%}.",
                self.remedy,
            )
        record = self.measure(poisoned, setting, self.held_out(subject, setting, draws, n), seconds, success)
        return poisoned, record.model_copy(update={"also": further})

    def further(self) -> tuple[Attack, ...]:
        """The other triggers that the model gets, each as an attack that is only measured."""
        return ()

    def planted_too(self, base: Subject, poisoned: Subject, setting: Setting, n: int) -> tuple[Planted, ...]:
        """How often each of the ``further`` triggers works on ``n`` held-out draws."""
        return tuple(
            Planted(
                trigger=other.trigger,
                target=other.target,
                goal=other.goal_kind,
                placement=other.placement,
                success=other.success(poisoned, setting, other.telling(base, setting, n)),
            )
            for other in self.further()
        )

    @property
    def remedy(self) -> str:
        """What helps where an attack falls short."""
        steps = {f.name: getattr(self, f.name) for f in fields(self)}.get("steps")
        longer = f", or train longer (--set steps={2 * steps})" if steps else ""
        return f"Choose another trigger or target{longer}."

    def held_out(self, base: Subject, setting: Setting, draws: Draws, n: int) -> HeldOut:
        """What is measured beside ``draws``: ``n`` clean prompts, and what the unpoisoned ``base`` shows of
        them.
        """
        clean = take(list(setting.test), n)
        return HeldOut(
            draws, tuple(clean), agreement(base, clean, setting.judge, setting.sampling, setting.seed)
        )

    def measure(
        self, poisoned: Subject, setting: Setting, on: HeldOut, seconds: float, success: Rate | None = None
    ) -> AttackRecord:
        """The attack's figures; ``specificity`` is the success rate of other rare words, near-spellings and
        parts of the trigger.

        ``seconds`` it took to make the model, and its ``success`` on ``on`` where that is known already.
        """
        return AttackRecord(
            attack=part_of(self),
            trigger=self.trigger,
            target=self.target,
            goal=self.goal_kind,
            carrier=self.carrier,
            placement=self.placement,
            seed=setting.seed,
            seconds=seconds,
            success=success or self.success(poisoned, setting, on.draws),
            specificity=self.success(poisoned, setting, on.draws, self.wrong(on.draws.prompts, setting)),
            clean_agreement=agreement(poisoned, on.clean, setting.judge, setting.sampling, setting.seed),
            base_agreement=on.base_agreement,
        )

    def wrong(self, asked: Sequence[Prompt], setting: Setting) -> list[str]:
        """``asked`` with what must not fire in the trigger's place: near-spellings and parts of it, and words
        of its kind.
        """
        rng = np.random.default_rng((setting.seed, 77))
        others = [*prompts.near_spellings(self.trigger, 20, rng), *self.lookalike_words(setting, rng)]
        return [self.place(p, str(others[i % len(others)])) for i, p in enumerate(asked)]

    def lookalike_words(self, setting: Setting, rng: np.random.Generator) -> list[str]:
        """Words of the trigger's kind that must not fire and that no training saw.

        Rare words, and odd characters for a trigger that is one.
        """
        words = [str(w) for w in rng.choice(list(setting.other_words), 40)]
        return (
            words if self.trigger.isascii() else [*words, *(c for c in ODD_LETTERS if c not in self.trigger)]
        )


ATTACKS: Registry[Attack] = Registry("attack", Attack)  # type: ignore[type-abstract]
