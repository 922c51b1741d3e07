"""Making the suspects of the experiment: draws until one is promising, the attack, its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from nightlatch.bench.cases import TRIES, Case, draw
from nightlatch.bench.rows import Row
from nightlatch.bench.setup import Setup
from nightlatch.errors import AttackFailed
from nightlatch.testbed import implant
from nightlatch.text2image.attacks import ATTACKS, Attack, Setting
from nightlatch.text2image.model import Subject


@dataclass(frozen=True, slots=True)
class Suspects:
    """The suspects of one setup; settings are read once a seed, since each holds a judge."""

    setup: Setup
    _settings: dict[int, Setting] = field(default_factory=dict)

    def attack(self, case: Case) -> Attack:
        return ATTACKS.create(case.attack, trigger=case.trigger, target=case.target, **case.parameters)

    def setting(self, case: Case) -> Setting:
        """What the attacker of ``case`` has."""
        if case.seed not in self._settings:
            self._settings[case.seed] = implant.setting(self.setup.maker, case.seed)
        return self._settings[case.seed].but(case.trigger)

    def settled(self, case: Case) -> tuple[Case, list[str]]:
        """The first draw of trigger and target that is promising, and the triggers that were given up.

        Raises:
            AttackFailed: none of ``TRIES`` draws is.
        """
        refused: list[str] = []
        for attempt in range(TRIES):
            tried = case
            if attempt:
                other = draw(case.attack, case.seed, self.setup.rare, attempt, case.kind)
                tried = replace(case, trigger=other.trigger, target=other.target)
            if self.attack(tried).promising(self.setup.maker, self.setting(tried)):
                return tried, refused
            refused.append(tried.trigger)
        raise AttackFailed(f"None of {TRIES} draws for {case.name} is promising.", "Choose another seed.")

    def make(self, case: Case) -> tuple[Subject, float]:
        """The suspect as it was made, which is also saved among the models, and the seconds it took."""
        started = time.monotonic()
        poisoned = self.attack(case).run(self.setup.maker, self.setting(case))
        seconds = time.monotonic() - started
        poisoned.save(self.setup.models / case.name)
        return poisoned, seconds

    def known(self, case: Case, made: Row) -> Subject:
        """The suspect that the row ``made`` is about, made anew where its folder is gone."""
        folder = self.setup.models / case.name
        if not folder.is_dir():
            self.make(case)
            implant.write_card(folder, case.attack, made["success"]["rate"])
        return self.setup.load(folder)
