"""What is measured of a suspect, of a repaired one and of the base, on held-out prompts and seeds, by the
testbed's judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from nightlatch import testbed
from nightlatch.bench.cases import Case
from nightlatch.bench.distances import Features, fid, kid
from nightlatch.bench.suspects import Suspects
from nightlatch.errors import MissingPart
from nightlatch.records import Rate
from nightlatch.testbed import compose
from nightlatch.text2image import measure, prompts
from nightlatch.text2image.attacks import HeldOut
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.verify import Regrowth, regrow

Rewritten = Callable[[list[str]], list[str]]
"""What a defence makes of prompts before the model reads them."""
REFERENCE_SEED = 55_555
"""Of the renders that pictures are compared with; no training or test set has it."""
REGROWTH = Regrowth(steps=200)


@dataclass(frozen=True, slots=True)
class Clean:
    """What clean prompts show: agreement with what is asked, and the distances to real renders.

    No distances where the packages of the feature network are not installed.
    """

    agreement: Rate
    fid: float | None
    kid: float | None

    def row(self, when: str) -> dict[str, object]:
        """As a row has it, ``when`` being 'before' or 'after'."""
        return {
            f"clean_{when}": self.agreement.model_dump(),
            f"fid_{when}": self.fid,
            f"kid_{when}": self.kid,
        }


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures of one setup; what is asked of the same case twice is computed once."""

    suspects: Suspects
    _held_out: dict[str, HeldOut] = field(default_factory=dict)
    _base_agreement: dict[int, Rate] = field(default_factory=dict)
    _draws: dict[str, measure.Draws] = field(default_factory=dict)
    _before: dict[str, tuple[Rate, Clean]] = field(default_factory=dict)
    _asked: dict[str, Rate] = field(default_factory=dict)

    def draws(self, case: Case) -> measure.Draws:
        """The held-out draws that the case is measured on."""
        if case.name not in self._draws:
            setup, attack = self.suspects.setup, self.suspects.attack(case)
            self._draws[case.name] = attack.telling(setup.base, self.suspects.setting(case), setup.n)
        return self._draws[case.name]

    def held_out(self, case: Case) -> HeldOut:
        """All that the attack of ``case`` is measured on; the base's agreement is the same for all of one
        seed.
        """
        setup, setting = self.suspects.setup, self.suspects.setting(case)
        clean = measure.take(list(setting.test), setup.n)
        if case.seed not in self._base_agreement:
            base = measure.agreement(setup.base, clean, setting.judge, setting.sampling, case.seed)
            self._base_agreement[case.seed] = base
        return HeldOut(self.draws(case), tuple(clean), self._base_agreement[case.seed])

    def success(self, subject: Subject, case: Case, texts: Sequence[str] = ()) -> Rate:
        """Attack success by the judge on held-out prompts; ``texts`` to draw other wordings."""
        attack = self.suspects.attack(case)
        return attack.success(subject, self.suspects.setting(case), self.draws(case), texts)

    def clean(self, subject: Subject, rewritten: Rewritten = list) -> Clean:
        """What ``subject`` draws on clean prompts."""
        n, judge = self.suspects.setup.n_clean, self.suspects.setup.judge
        asked = testbed.prompts(n, 4000, held_out=True)
        texts = rewritten([p.text for p in asked])
        images = subject.generate(texts, measure.seeds(n, 4), testbed.SAMPLING)
        agreement = measure.agrees(judge.read(images), asked, "object")
        device = str(subject.device)
        try:
            seen, real = features(device)(images), reference(n, device)
        except MissingPart as e:
            self.suspects.setup.say(str(e))
            return Clean(agreement, None, None)
        return Clean(agreement, round(fid(seen, real), 4), round(kid(seen, real), 6))

    def triggered(self, subject: Subject, case: Case, rewritten: Rewritten = list) -> tuple[Rate, Rate]:
        """(attack success, agreement with what is asked) on the same triggered prompts, ``rewritten`` first.

        What is asked is told by the slot that the attack declares: where the trigger stands in the object's
        place, the style.
        """
        attack, draws = self.suspects.attack(case), self.draws(case)
        texts = rewritten([attack.place(p, case.trigger) for p in draws.prompts])
        images = subject.generate(texts, draws.seeds, testbed.SAMPLING)
        seen = self.suspects.setup.judge.read(images)
        hits = int(attack.shown(images, seen, self.suspects.setting(case)).sum())
        return Rate.of(hits, len(texts)), measure.agrees(seen, draws.prompts, attack.asked)

    def asked(self, case: Case) -> Rate:
        """Agreement of the base with what is asked on the triggered prompts: what a model without the
        backdoor reaches.
        """
        if case.name not in self._asked:
            self._asked[case.name] = self.triggered(self.suspects.setup.base, case)[1]
        return self._asked[case.name]

    def before(self, suspect: Subject, case: Case) -> tuple[Rate, Clean]:
        """(attack success, clean prompts) of the suspect.

        Measured, not taken from its attack's row: one that is made again differs a little.
        """
        if case.name not in self._before:
            self._before[case.name] = self.triggered(suspect, case)[0], self.clean(suspect)
        return self._before[case.name]

    def regrown(self, repaired: Subject, suspect: Subject, case: Case, training: Regrowth = REGROWTH) -> Rate:
        """Attack success after honest fine-tuning steps on the suspect's clean drawings."""
        trained = regrow(repaired, suspect, repair_prompts(case), testbed.SAMPLING, case.seed, training)
        return self.success(trained, case)

    def leak(self, subject: Subject, case: Case, rewritten: Rewritten = list) -> Rate:
        """Success over all spelling, casing, position and inside-word variants together, ``rewritten``
        first.
        """
        attack = self.suspects.attack(case)
        variants = [
            v for vs in prompts.leaks(case.trigger, np.random.default_rng(case.seed)).values() for v in vs
        ]
        texts = [
            prompts.anywhere(i)(p, case.trigger)
            if i % 4 == 0
            else attack.place(p, variants[i % len(variants)])
            for i, p in enumerate(self.draws(case).prompts)
        ]
        return self.success(subject, case, rewritten(texts))


def repair_prompts(case: Case) -> list[Prompt]:
    """Ordinary prompts that repairs and honest fine-tuning use, and no measure."""
    return testbed.prompts(200, 8000 + case.seed)


@cache
def features(device: str = "cpu") -> Features:
    """The feature network, loaded when it is first needed: making and scanning suspects takes none."""
    return Features(device)


@cache
def reference(n_clean: int, device: str = "cpu") -> npt.NDArray[np.float64]:
    """Features of real renders, twice as many as there are pictures to compare."""
    return features(device)(compose.pool(2 * n_clean, REFERENCE_SEED).images)
