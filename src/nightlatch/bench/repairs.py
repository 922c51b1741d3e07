"""Repairing one suspect by SAU, its ablations or a rival, with what scan found, and measuring with the true
trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nightlatch import testbed
from nightlatch.bench.cases import Case
from nightlatch.bench.measures import Measures, Rewritten, repair_prompts
from nightlatch.bench.rows import Row
from nightlatch.records import PlacedTrigger, Placement
from nightlatch.terms import Role
from nightlatch.text2image import measure
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import METHODS, Job, Method
from nightlatch.text2image.repair.prompt_side import PromptSide

SAU, SKD = "sau", "skd"
VARIANTS: dict[str, dict[str, Any]] = {
    "sau: no warm start": {"warm_start": False},
}
"""Ablations: SAU with other parameters than its own."""
CONTROL = "the base itself"
"""In the column of methods."""
CHECKPOINTS = (1, 10, 25, 50, 100, 200, 400)
"""Steps after which the judge looks at what sau and skd have reached. The first of sau is its warm start."""
WATCHED = 96
"""Pictures that it looks at."""


def repair(
    measures: Measures, suspect: Subject, case: Case, method: str, seen: Row, target_rate: float | None = None
) -> Row:
    """One row of clean.json: repair with what scan found (``seen``, its row there), measured with the true
    trigger.

    Where scan found nothing, the true trigger and carrier are given, and the row says so. skd stops where the
    judge sees at most ``target_rate`` left on pictures kept for that.
    """
    job = _job(measures, case, seen)
    watch = _Watch(measures, case, target_rate if method == SKD else None)
    part = METHODS.create(method.split(":")[0], **VARIANTS.get(method, {}), harm_limit=float("inf"))
    watched = watch if method.startswith((SAU, SKD)) else None
    repaired, record = part(suspect, job, watched)
    used = job.triggers[0].text
    return {
        "trigger_used": used,
        "trigger_source": "scan" if seen["trigger_found"] else "given",
        "used_base": record.used_base,
        "target_rate": watch.target_rate,
        "steps": record.steps,
        "seconds": round(record.seconds, 1),
        **outcome(measures, repaired, suspect, case, rewriting(part, [used], case.seed)),
        "success_by_step": watch.path,
        "seconds_by_step": watch.clock,
    }


def control(measures: Measures, suspect: Subject, case: Case) -> Row:
    """One row of clean.json with the base in the place of a repaired model.

    It says what a perfect repair shows, and what honest steps on this suspect's drawings do to a model that
    never had the backdoor.
    """
    about = {"trigger_used": "", "trigger_source": "", "used_base": True, "steps": 0, "seconds": 0.0}
    return {**about, **outcome(measures, measures.suspects.setup.base, suspect, case), "success_by_step": {}}


def rewriting(part: Method, triggers: Sequence[str], seed: int) -> Rewritten:
    """What a defence makes of prompts; one that changes weights leaves them alone."""
    if isinstance(part, PromptSide):
        return lambda texts: part.rewritten(texts, triggers, seed)
    return list


def outcome(
    measures: Measures, repaired: Subject, suspect: Subject, case: Case, rewritten: Rewritten = list
) -> Row:
    """What is measured on a repaired model, and on the suspect."""
    before, clean_before = measures.before(suspect, case)
    after, agreement = measures.triggered(repaired, case, rewritten)
    lasting = rewritten is list
    return {
        "success_before": before.model_dump(),
        "success_after": after.model_dump(),
        "upper95": after.high95,
        "triggered_agreement": agreement.model_dump(),
        "triggered_agreement_base": measures.asked(case).model_dump(),
        **clean_before.row("before"),
        **measures.clean(repaired, rewritten).row("after"),
        "regrowth": measures.regrown(repaired, suspect, case).model_dump() if lasting else None,
        "leak": measures.leak(repaired, case, rewritten).model_dump(),
    }


def acts_on(measures: Measures, case: Case, seen: Row) -> tuple[Role, ...]:
    """What the components do that scan found to carry the backdoor; the true one where it named no
    trigger.
    """
    if not seen["trigger_found"]:
        return (measures.suspects.attack(case).carrier,)
    return tuple(measures.suspects.setup.base.parts[name].role for name in seen["carrier_found"])


def _job(measures: Measures, case: Case, seen: Row) -> Job:
    setup, found = measures.suspects.setup, seen["trigger_found"]
    true = measures.suspects.attack(case).placement
    return Job(
        triggers=(
            PlacedTrigger(
                text=found or case.trigger,
                placement=Placement.model_validate(seen["placement"]) if found else true,
            ),
        ),
        prompts=repair_prompts(case),
        carriers=acts_on(measures, case, seen),
        base=setup.base,
        sampling=testbed.SAMPLING,
        seed=case.seed,
    )


class _Watch:
    """The judge's looks at a repair in progress: what is left after some steps, and when.

    Args:
        target_rate: what is left when the repair is stopped; None for never.
    """

    def __init__(self, measures: Measures, case: Case, target_rate: float | None) -> None:
        attack, setting, seed = (
            measures.suspects.attack(case),
            measures.suspects.setting(case),
            6000 + case.seed,
        )
        draws = measure.Draws.of(attack.candidates(testbed.prompts(120, seed, held_out=True)), WATCHED, seed)
        self.left: Callable[[Subject], float] = lambda student: attack.success(student, setting, draws).rate
        self.target_rate = target_rate
        self.path: dict[int, float] = {}
        self.clock: dict[int, float] = {}

    def __call__(self, step: int, student: Subject, seconds: float) -> bool:
        if step not in CHECKPOINTS:
            return False
        self.clock[step] = round(seconds, 1)
        self.path[step] = self.left(student)
        return self.target_rate is not None and self.path[step] <= self.target_rate
