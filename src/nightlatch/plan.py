"""What a run decides once, before anything is drawn: family, seed, and how. Recorded once, so that all verbs
measure the same behaviour.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from nightlatch import runs
from nightlatch.errors import UsageError
from nightlatch.records import Record

S = TypeVar("S", bound=Record)
KEY = "plan"
"""Where the run's manifest holds it."""
OLD_KEY = "drawing"
"""Where version 0.1.0 held what it had decided."""
MOST_SEED = 2**31 - 1
RESULTS = ("verdict", "repair", "scorecard")
"""Records that depend on the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user asks for; None and what is left out of ``settings`` is the run's own, else the default.

    Args:
        settings: by the names that the family's settings have, as the command line spells them.
        seed: of everything that is drawn; drawn itself when neither user nor run names one.
        device: a torch device name; no part of the plan, since a run may go on elsewhere.
        inputs: files that the user names beside the model, by the option's name; read anew by each verb and
            recorded nowhere.
    """

    settings: Mapping[str, Any]
    seed: int | None = None
    device: str = "cpu"
    inputs: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The decisions of a run.

    Args:
        family: which kind of model it is about.
        settings: the family's own, such as prompts, steps and guidance.
        seed: splits the prompts and decides all noise.
        device: where it is computed.
        inputs: files beside the model; no part of what is recorded.
    """

    family: str
    settings: Record
    seed: int
    device: str = "cpu"
    inputs: Mapping[str, Path] = field(default_factory=dict)

    def of(self, kind: type[S]) -> S:
        """Its settings, which are those of the asking family."""
        if not isinstance(self.settings, kind):
            raise TypeError(f"a plan of {self.family} has no {kind.__name__}")
        return self.settings


class Decides(Protocol):
    """What of a family a plan needs."""

    name: str
    Settings: type[Record]

    def settings(self, given: Mapping[str, Any]) -> Record:
        """Of values that the user typed, among which may be the names of files to read.

        Raises:
            UsageError: there is no such setting, or its value is out of range.
        """


def settle(run: runs.Run, family: Decides, options: Options, anew: bool = False) -> Plan:
    """What is asked for, the rest as ``run`` is recorded with, else by default; recorded in the run's
    manifest.

    What is recorded may come from a stranger: it is held against the ranges, and never taken for the name of
    a file.

    Args:
        anew: what the run holds is going to be replaced, so that other decisions are welcome.

    Raises:
        UsageError: a value is out of range, what is recorded is unusable, or differs from what the run's
            results were made with.
    """
    recorded = {} if anew and not usable(run) else of(run)
    held = not anew and any(map(run.wrote, RESULTS))
    if held and recorded and recorded["family"] != family.name:
        raise UsageError(f"{run.path} is about another kind of model.", "Choose another run folder.")
    before = {} if anew else recorded.get("settings", {})
    try:
        base = family.Settings.model_validate(before)
    except ValidationError:
        raise UsageError(
            f"{run.path / runs.MANIFEST} records no usable settings.", "Choose another run folder."
        ) from None
    typed = family.settings(options.settings)
    made = valid(family.Settings, {**before, **{name: getattr(typed, name) for name in options.settings}})
    for name in options.settings:
        if held and before and getattr(base, name) != getattr(made, name):
            old = getattr(base, name)
            sentence = (
                f"{run.path} was made with "
                f"{f'--{name} {old}' if isinstance(old, str | int | float) else f'other --{name}'}."
            )
            raise UsageError(sentence, f"Leave --{name} out, or choose another run folder.")
    seed = _seed(run, recorded.get("seed"), options.seed, held)
    plan = Plan(family=family.name, settings=made, seed=seed, device=options.device, inputs=options.inputs)
    now = {"family": family.name, "seed": seed, "settings": made.model_dump(mode="json")}
    if now != recorded:
        run.note(KEY, now)
    return plan


def _seed(run: runs.Run, recorded: int | None, given: int | None, held: bool) -> int:
    if held and given is not None and recorded not in (None, given):
        raise UsageError(
            f"{run.path} was made with the seed {recorded}.",
            "Leave --seed out, or choose another run folder.",
        )
    if given is not None:
        return given
    return secrets.randbelow(MOST_SEED + 1) if recorded is None else recorded


def of(run: runs.Run) -> dict[str, Any]:
    """What the manifest of ``run`` records: family, seed and settings; {} where it records nothing.

    Raises:
        UsageError: what is recorded is unusable.
    """
    manifest = run.manifest()
    held = manifest.get(KEY)
    if held is None and OLD_KEY in manifest:
        raise UsageError(f"{run.path} was made by an earlier version.", "Choose another run folder.")
    if held is None:
        return {}
    seed = held.get("seed") if isinstance(held, dict) else None
    sound = type(seed) is int and 0 <= seed <= MOST_SEED and isinstance(held.get("settings"), dict)
    if not sound or not isinstance(held.get("family"), str):
        raise UsageError(
            f"{run.path / runs.MANIFEST} records no usable settings.", "Choose another run folder."
        )
    return {name: held[name] for name in ("family", "seed", "settings")}


def usable(run: runs.Run) -> bool:
    """Whether ``of`` can read what is recorded."""
    try:
        of(run)
    except UsageError:
        return False
    return True


def valid(kind: type[S], values: Mapping[str, Any]) -> S:
    """A ``kind`` of ``values``.

    Raises:
        UsageError: one is out of range, or there is no such setting.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as e:
        where, what = e.errors()[0]["loc"][0], e.errors()[0]["msg"].lower()
        raise UsageError(f"--{where}: {what}.", "See --help.") from None
