"""verify: is it gone, and is the model unharmed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nightlatch import loading, runs
from nightlatch import plan as plans
from nightlatch.errors import UsageError
from nightlatch.families import Job, Say
from nightlatch.plan import Options
from nightlatch.records import Repair, Scorecard, Verdict
from nightlatch.verbs.common import asked, draw, maybe, planted, require_same


def verify(
    run: runs.Run,
    source: Path,
    repaired: Path,
    options: Options,
    say: Say,
    *,
    triggers: Sequence[str] = (),
    base: Path | None = None,
    n: int = 300,
    regrowth_steps: int = 200,
    inputs: Mapping[str, Path] | None = None,
    planted_in: Path | None = None,
    search: bool = True,
) -> Scorecard:
    """Measure ``repaired`` against ``source``; writes the pictures, evidence.json and scorecard.json.

    Args:
        triggers: by default those that the repair in ``run`` worked on, else those that scan found.
        base: a trusted model, against which the repaired one is scanned with all stages; without one only what
            still acts like the triggers is looked for.
        inputs: files beside the model, as for clean.
        planted_in: the provenance record of a model made for evaluation, whose trigger is tried, too.
        search: whether the repaired model is searched for what is left.

    Raises:
        UsageError: no trigger is known, or ``run`` is about another model than ``source``.
    """
    done = maybe(run, "repair", Repair)
    known_trigger = planted(planted_in) if planted_in is not None else None
    known = not triggers and (bool(inputs) or done is not None)
    wanted = (done.triggers if done else ()) if known else asked(maybe(run, "verdict", Verdict), triggers)
    with loading.ready(source, base) as made:
        require_same(run, made.manifest)
        plan = plans.settle(run, made.family, options)
        if options.seed is None and done is None and not run.wrote("verdict"):
            remedy = "Give the --run of scan and clean, or their --seed and --trigger."
            raise UsageError("verify must know which prompts the repair has seen.", remedy)
        before, manifest, family = made.load(plan), made.manifest, made.family
    after = loading.load(repaired, plan, base)
    run.drop("scorecard")
    verdict = maybe(run, "verdict", Verdict)
    rounds = done.rounds if done else ()
    job = Job(
        plan=plan,
        triggers=wanted,
        base=loading.load(base, plan) if base and search else None,
        found=verdict,
        inputs=inputs or {},
        n=n,
        regrowth_steps=regrowth_steps,
        planted=known_trigger,
        search=search,
        strings=[t.text for each in rounds for t in (*each.triggers, *each.alike)],
    )
    card = family.verify(before, after, job, say)
    card = card.model_copy(update={"rounds": rounds})
    say("drawing evidence")
    shown = Job(plan=plan, triggers=wanted[:1], inputs=inputs or {}, found=verdict)
    draw(run, family, before, after, shown)
    run.write("computed", family.computed(after))
    run.write("manifest", manifest)
    run.write("scorecard", card)
    return card
