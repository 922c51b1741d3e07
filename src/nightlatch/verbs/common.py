"""What several verbs do: find the triggers to work on, hold a model against the run's own, draw the report's
pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from nightlatch import runs
from nightlatch.errors import UsageError
from nightlatch.families import Family, Job
from nightlatch.records import Images, Manifest, PlacedTrigger, Placement, Record, Verdict

R = TypeVar("R", bound=Record)
MOST_IMAGES = 240
LONGEST = 1 << 20
"""Bytes of a provenance record."""


class Evidence(Record):
    """The pictures of a run."""

    images: tuple[Images, ...] = ()


def maybe(run: runs.Run, name: str, kind: type[R]) -> R | None:
    """The record ``name``, None where the run has none."""
    return run.read(name, kind) if run.wrote(name) else None


def asked(verdict: Verdict | None, triggers: Sequence[str]) -> tuple[PlacedTrigger, ...]:
    """The triggers to work on: those given, else those that ``verdict`` names. One that was found stands
    where it was found, another in front.

    Raises:
        UsageError: there is none, or one is empty.
    """
    if not all(t.split() for t in triggers):
        raise UsageError(
            "A trigger is empty.", "Name at least one character that is no space with --trigger."
        )
    found = {t.text: t.placed for t in (verdict.triggers if verdict else ())}
    wanted = tuple(found.get(text, PlacedTrigger(text=text)) for text in triggers) or tuple(found.values())
    if not wanted and verdict:
        raise UsageError("The scan of this run found no trigger.", "Name one with --trigger if you know it.")
    if not wanted:
        raise UsageError(
            "There is no trigger to work on.",
            "Run scan into this run folder first, or name one with --trigger.",
        )
    return wanted


def planted(file: Path) -> PlacedTrigger:
    """The trigger that the provenance record of a model made for evaluation names.

    Raises:
        UsageError: there is no such file, or it names no trigger.
    """
    remedy = "Give the provenance.json that 'nightlatch implant' wrote."
    try:
        with open(file, "rb") as opened:
            content = opened.read(LONGEST + 1)
        given = dict(json.loads(content[:LONGEST]))
        return PlacedTrigger(
            text=given["trigger"], placement=Placement.model_validate(given.get("placement", {}))
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
        raise UsageError(f"{file} names no planted trigger.", remedy) from e


def require_same(run: runs.Run, manifest: Manifest) -> None:
    """What ``run`` says must be about the files of ``manifest``, or one model's trigger would be removed from
    another.

    Raises:
        UsageError: the run holds another model's manifest, or results and none.
    """

    def used(m: Manifest) -> set[tuple[str, str]]:
        return {(f.path, f.sha256) for f in m.files if f.staged}

    recorded = maybe(run, "manifest", Manifest)
    if recorded is None and any(run.wrote(name) for name in ("verdict", "repair", "scorecard")):
        raise UsageError(f"{run.path} does not say which files it is about.", "Scan into another --run.")
    if recorded is not None and used(recorded) != used(manifest):
        raise UsageError(
            f"{run.path} is about another model than {manifest.source}.", "Name that model, or another --run."
        )


def draw(run: runs.Run, family: Family, suspect: Any, repaired: Any, job: Job) -> None:
    """Draw the report's pictures into ``run`` and write evidence.json."""
    run.drop("evidence")
    images = []
    for i, row in enumerate(family.evidence(suspect, repaired, job)):
        files = {column: run.picture(f"{i:02d}-{column}.png", png) for column, png in row.pictures.items()}
        images.append(Images(prompt=row.prompt, asked=row.asked, seed=row.seed, trigger=row.trigger, **files))
    run.write("evidence", Evidence(images=tuple(images[:MOST_IMAGES])))
