"""Scanning one model of the experiment; what was planted is compared with what was named afterwards."""

from __future__ import annotations

from nightlatch import testbed
from nightlatch.bench.cases import Case
from nightlatch.bench.measures import Measures
from nightlatch.bench.rows import Row
from nightlatch.records import Placement, Verdict
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan import Question, TrustedBase, scan

SHOWN = 10
"""Candidates kept in a row."""


def judged(measures: Measures, suspect: Subject, seed: int) -> Verdict:
    """The scanner's verdict: it gets the model, the base and ordinary prompts, and nothing else."""
    setup = measures.suspects.setup
    texts = testbed.prompts(900, 7000 + seed)
    base = TrustedBase(base=setup.base)
    return scan(
        Question(
            suspect=suspect, reference=base, texts=texts, sampling=testbed.SAMPLING, seed=seed, say=setup.say
        )
    )


def honest(measures: Measures, model: Subject, seed: int) -> Row:
    """One row of scan.json of a model without a backdoor."""
    row = _seen(judged(measures, model, seed))
    return {**row, "trigger_true": "", "exact": None, "functional_success": None, "carrier_true": ""}


def backdoored(measures: Measures, suspect: Subject, case: Case) -> Row:
    """One row of scan.json of a suspect; ``functional_success`` is what the string that was named does in the
    true place.
    """
    row = _seen(judged(measures, suspect, case.seed))
    attack, found = measures.suspects.attack(case), row["trigger_found"]
    planted = measures.success(suspect, case)
    texts = [attack.place(p, found) for p in measures.draws(case).prompts] if found else []
    exact = found == case.trigger
    functional = (planted if exact else measures.success(suspect, case, texts)) if found else None
    return {
        **row,
        "trigger_true": case.trigger,
        "exact": exact,
        "functional_success": functional.model_dump() if functional else None,
        "planted_success": planted.model_dump(),
        "carrier_true": measures.suspects.setup.components(attack.carrier),
    }


def _seen(verdict: Verdict) -> Row:
    first = verdict.triggers[0] if verdict.triggers else None
    return {
        "verdict": verdict.word,
        "trigger_found": first.text if first else "",
        "placement": (first.placement if first else Placement()).model_dump(mode="json"),
        "carrier_found": [c.component for c in verdict.carriers],
        "seconds": round(verdict.seconds, 1),
        "top": [c.text for c in verdict.top_candidates[:SHOWN]],
    }
