"""report: what a run folder holds, put together and shown in all views. Needs no model."""

from __future__ import annotations

from nightlatch import plan as plans
from nightlatch import report as views
from nightlatch import runs
from nightlatch.provenance import now, versions
from nightlatch.records import Computed, Environment, Manifest, Repair, Report, Scorecard, Verdict
from nightlatch.verbs.common import Evidence, maybe

HASHED = tuple(name for name in runs.RECORDS if name != "computed")


def report(run: runs.Run) -> Report:
    """Put together what the run folder holds and write all views into it."""
    made = gathered(run)
    for file, content in views.render(made, run.read_picture).items():
        run.put(file, content)
    return made


def gathered(run: runs.Run) -> Report:
    """The report of ``run``.

    Raises:
        UsageError: a record is damaged, or of another version.
    """
    manifest = maybe(run, "manifest", Manifest)
    evidence = maybe(run, "evidence", Evidence) or Evidence()
    on, first = maybe(run, "computed", Computed) or Computed(), run.manifest()
    then = tuple(
        str(session.get("command", "")) for session in first["resumed"][-100:] if isinstance(session, dict)
    )
    return Report(
        source=manifest.source if manifest else str(run.path),
        manifest=manifest,
        verdict=maybe(run, "verdict", Verdict),
        repair=maybe(run, "repair", Repair),
        scorecard=maybe(run, "scorecard", Scorecard),
        images=evidence.images,
        hashes={f"{name}.json": digest for name in HASHED if (digest := run.sha256(name))},
        environment=Environment(
            command=str(first.get("command", "")),
            then=then,
            versions=versions(),
            device=on.device,
            dtype=on.dtype,
            started=str(first.get("started", now())),
            seed=plans.of(run).get("seed"),
            run=str(run.path),
        ),
    )
