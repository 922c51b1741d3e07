"""The seed of a run: drawn so that no model can foresee it, and recorded so that the run can be repeated."""

from __future__ import annotations

import json
import secrets
from typing import Any

from nightlatch import runs
from nightlatch.errors import UsageError

MOST = 2**31 - 1
RESULTS = ("verdict", "repair", "scorecard")
"""Records that depend on the seed."""


def settle(run: runs.Run, given: int | None = None, anew: bool = False) -> int:
    """``given``, else the seed that ``run`` is recorded with, else a new one; recorded in the run's manifest.

    Args:
        anew: what the run holds is going to be replaced.

    Raises:
        UsageError: what is recorded is no seed, or is another than ``given`` and the run holds results of it: other prompts would be held out.
    """
    if given is not None and not anew and any(map(run.wrote, RESULTS)) and (made_with := of(run)) not in (None, given):
        raise UsageError(f"{run.path} was made with the seed {made_with}.", "Leave --seed out, or choose another run folder.")
    recorded = of(run) if given is None else given
    seed = secrets.randbelow(MOST + 1) if recorded is None else recorded
    if seed != run.manifest().get("seed"):
        run.note("seed", seed)
    return seed


def of(run: runs.Run) -> int | None:
    """The seed in the manifest of ``run``, else in its verdict (where older runs recorded it); None when there is none.

    Raises:
        UsageError: what is recorded is no seed.
    """
    seed: Any = run.manifest().get("seed")
    if seed is None and run.wrote("verdict"):
        seed = _in_verdict(run)
    if seed is not None and not (type(seed) is int and 0 <= seed <= MOST):
        raise UsageError(f"{run.path / runs.MANIFEST} records no usable seed.", "Name one with --seed, or choose another folder.")
    return seed


def _in_verdict(run: runs.Run) -> Any:
    try:
        return json.loads((run.path / "verdict.json").read_bytes())["seed"]
    except (ValueError, KeyError, TypeError):
        return None
