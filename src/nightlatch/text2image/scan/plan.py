"""Which stages a scan runs, in which order: the default, or those that a user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from nightlatch.errors import UsageError
from nightlatch.text2image.scan.stage import STAGES, Stage
from nightlatch.text2image.scan.stages import (
    AnsweringTokens,
    Assembled,
    Behind,
    EditPhrases,
    Inside,
    LateStep,
    MiddleBlock,
    SingleTokens,
    Suggested,
)

Plan = tuple[Stage, ...]


def default() -> Plan:
    """All stages of the project, cheap before dear; the scan ends with the first that finds a trigger."""
    usual = (Suggested(), AnsweringTokens(), Assembled(), MiddleBlock(), EditPhrases(), SingleTokens())
    return *usual, Behind(), Inside(), LateStep()


def of(names: Sequence[str] = (), skip: Sequence[str] = ()) -> Plan:
    """The stages called ``names`` in that order, or the default plan, without those called ``skip``.

    A stage of another package is called "package:stage".

    Raises:
        UsageError: there is no such stage, one to skip is not in the plan, or none is left.
    """
    made = tuple(STAGES.create(name) for name in dict.fromkeys(names)) or default()
    for name in skip:
        if name not in {stage.name for stage in made}:
            STAGES.create(name)
            raise UsageError(
                f"The stage {name!r} is to be skipped and is not in the plan.", "Leave it out of --skip."
            )
    kept = tuple(stage for stage in made if stage.name not in skip)
    if not kept:
        raise UsageError("No stage is left to run.", "Skip fewer stages.")
    return kept


def tuned(plan: Sequence[Stage], **parameters: Any) -> Plan:
    """``plan`` with each of ``parameters`` in every stage that has it; what is one option of an experiment.

    Raises:
        UsageError: no stage has such a parameter.
    """
    known = {f.name for stage in plan for f in dataclasses.fields(stage)}
    if odd := sorted(parameters.keys() - known):
        raise UsageError(
            f"No stage of the plan has a parameter {odd[0]!r}.", "'nightlatch ls stages' lists them."
        )

    def given(stage: Stage) -> dict[str, Any]:
        return {k: v for k, v in parameters.items() if k in {f.name for f in dataclasses.fields(stage)}}

    return tuple(dataclasses.replace(stage, **given(stage)) for stage in plan)
