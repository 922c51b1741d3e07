"""scan: does it hide a backdoor? No trigger, prompt or attack name is given."""

from __future__ import annotations

from pathlib import Path

from nightlatch import intake, loading, runs
from nightlatch import plan as plans
from nightlatch.errors import NotScanned
from nightlatch.families import Job, Say
from nightlatch.plan import Options
from nightlatch.records import Hint, Manifest, Verdict
from nightlatch.verbs.common import draw


def scan(run: runs.Run, source: Path, base: Path | None, options: Options, say: Say) -> Verdict:
    """Scan ``source`` against ``base``, or alone for what shows without one; writes manifest.json, verdict.json and,
    of a trigger that was found, the pictures and evidence.json.

    What ``run`` holds of an earlier scan is removed first, so that nothing old stands in it when something
    fails.

    Raises:
        UsageError: the arguments do not fit together.
        UnreadableModel: ``source`` or ``base`` cannot be fetched or does not load.
    """
    loading.require_there(source, base)
    run.drop(*runs.RECORDS)
    try:
        with loading.ready(source, base) as made:
            plan = plans.settle(run, made.family, options, anew=True)
            run.write("manifest", made.manifest)
            suspect = made.load(plan)
            manifest, family = made.manifest, made.family
    except (NotScanned, intake.Refused) as e:
        return _unread(run, e, base, options, say)
    trusted = loading.load(base, plan) if base is not None else None
    run.write("computed", family.computed(suspect))
    verdict = family.scan(suspect, trusted, plan, hints(manifest), say)
    verdict = verdict.model_copy(update={"not_tested": (*_untried(manifest), *verdict.not_tested)})
    run.write("verdict", verdict)
    if verdict.triggers or verdict.pictures:
        say("drawing evidence")
        placed = [t.placed for t in verdict.triggers[:1]]
        draw(run, family, suspect, None, Job(plan=plan, triggers=placed, found=verdict))
    return verdict


def _unread(
    run: runs.Run, error: NotScanned | intake.Refused, base: Path | None, options: Options, say: Say
) -> Verdict:
    """The verdict on a model that could not be read whole."""
    say(f"not scanned: {error}")
    if isinstance(error, intake.Departs | intake.Refused):
        run.write("manifest", error.manifest)
    verdict = Verdict(
        word="not scanned",
        skipped=(str(error),),
        not_tested=("the model as a loader would put it together",),
        base=Path(base).name if base is not None else "",
        seed=(plans.of(run) if plans.usable(run) else {}).get("seed", options.seed or 0),
    )
    run.write("verdict", verdict)
    return verdict


def hints(manifest: Manifest) -> tuple[Hint, ...]:
    """What the files give a scan to try."""
    return tuple(h for h in manifest.hints if not h.untried)


def _untried(manifest: Manifest) -> tuple[str, ...]:
    """A sentence on each thing beside the weights that a scan cannot try."""
    return tuple(f"{h.file or 'files beside the model'}: {h.untried}" for h in manifest.hints if h.untried)
