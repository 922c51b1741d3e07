"""Rows of attacks.json: a suspect is made and measured."""

from __future__ import annotations

from nightlatch.bench.cases import Case
from nightlatch.bench.measures import Measures
from nightlatch.bench.rows import Row
from nightlatch.testbed import implant


def planted(measures: Measures, case: Case) -> Row:
    """Make the suspect of ``case`` and measure it; one that falls short is a row, too.

    Raises:
        AttackFailed: no draw of trigger and target is promising.
    """
    suspects, setup = measures.suspects, measures.suspects.setup
    case, refused = suspects.settled(case)
    attack = suspects.attack(case)
    poisoned, seconds = suspects.make(case)
    record = attack.measure(poisoned, suspects.setting(case), measures.held_out(case), seconds)
    implant.write_provenance(setup.models / case.name, record)
    return {
        "trigger": case.trigger,
        "target": case.target,
        "kind_of_trigger": case.kind,
        "drawn_at_random": case.drawn,
        "refused": refused,
        "carrier": setup.components(attack.carrier),
        "success": record.success.model_dump(),
        "success_base": measures.success(setup.base, case).model_dump(),
        "specificity": record.specificity.model_dump(),
        "clean_agreement": record.clean_agreement.model_dump(),
        "base_agreement": record.base_agreement.model_dump(),
        "seconds": round(seconds, 1),
        **measures.clean(poisoned).row("before"),
    }
