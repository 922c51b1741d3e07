"""Repair, search what came of it, and repair again, until the search finds nothing.

A repair that removes one string may leave the backdoor to another. So the repaired model is scanned again,
cheap stages first and with all that the first scan named, and what that finds is removed in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nightlatch.records import ComponentChange, PlacedTrigger, Repair, RepairRound, Verdict
from nightlatch.safetext import show
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair.accounting import difference
from nightlatch.text2image.repair.alike import UNREADABLE, Alike
from nightlatch.text2image.repair.base import METHODS, Job, Watch

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search of a model found, and what it leaves to try in the next one.

    Args:
        triggers: each where it stands; () where nothing was found.
        roles: what the components do through which they act.
        strings: all that the search named, the most suspicious first.
        changes: the weight differences that it saw.
        searched: how, for people.
        seconds: how long it took.
    """

    triggers: tuple[PlacedTrigger, ...] = ()
    roles: tuple[Role, ...] = ()
    strings: tuple[str, ...] = ()
    changes: tuple[ComponentChange, ...] = ()
    searched: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, verdict: Verdict, searched: str = "") -> Found:
        """What a scan concluded."""
        return cls(
            triggers=tuple(t.placed for t in verdict.triggers),
            roles=tuple(dict.fromkeys(c.role for c in verdict.carriers)),
            strings=named(verdict),
            changes=verdict.fingerprint,
            searched=searched,
            seconds=verdict.seconds,
        )


def named(verdict: Verdict) -> tuple[str, ...]:
    """All strings of a verdict: triggers, their rivals, and the table of single tokens."""
    rivals = (r for t in verdict.triggers for r in t.rivals)
    texts = (*(t.text for t in verdict.triggers), *rivals, *(c.text for c in verdict.top_candidates))
    return tuple(dict.fromkeys(t for t in texts if t.strip() and UNREADABLE not in t))


class Search(Protocol):
    """How a repaired model is searched for what is left."""

    def __call__(self, model: Subject, hints: Sequence[str]) -> Found:
        """What is found in ``model``; ``hints`` are the strings that earlier searches named.

        Raises:
            NotScanned: it cannot be compared any more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be removed, and with what.

    Args:
        found: what the scan of the suspect found.
        prompts: ordinary prompts to repair with.
        base: a trusted model, if there is one.
        method: a repair by name, with its ``parameters``.
        search: how the result is searched; None ends with the first round.
        rounds: most rounds.
        alike: the numbers of the search for what acts like a trigger; ``most`` 0
            leaves it out.
        watch: told of every step.
        say: called with a line now and then.
    """

    found: Found
    prompts: Sequence[Prompt]
    base: Subject | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    method: str = "auto"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    search: Search | None = None
    rounds: int = 3
    alike: Alike = field(default_factory=Alike)
    watch: Watch | None = None
    say: Say = print


def remove(suspect: Subject, task: Task) -> tuple[Subject, Repair]:
    """A copy of ``suspect`` without the backdoor, and what was done, round by round.

    The last round that did no harm counts; where the first did, nothing changes.

    Raises:
        UsageError: as for any repair.
    """
    part = METHODS.create(task.method, **task.parameters)
    current, found, done = suspect, task.found, list[tuple[Repair, RepairRound]]()
    tried, strings = set[tuple[Role, str]](), task.found.strings
    for number in range(1, max(1, task.rounds) + 1):
        job = _job(current, found, task, strings, tried)
        if number > 1:
            task.say(f"round {number}: {', '.join(repr(show(t.text)) for t in job.triggers)}")
        current, record = part(current, job, task.watch)
        again = _searched(task, current, record, strings)
        done.append((record, _round(job, record, again)))
        caught = {t.text for t in (*job.triggers, *job.alike)}
        if record.rolled_back or (again and caught & {t.text for t in again.triggers}):
            tried |= {(role, c.method) for c in record.choices for role in _roles(suspect, c.components)}
        if record.rolled_back and record.choices:
            continue
        if again is None or not again.triggers:
            break
        strings = tuple(dict.fromkeys((*strings, *again.strings)))
        found = again
    return current, _whole(suspect, current, task, done)


def _job(
    model: Subject, found: Found, task: Task, strings: Sequence[str], tried: Collection[tuple[Role, str]]
) -> Job:
    """The next round's work: the triggers and, unless only one string is wanted, what acts like them."""
    alike: dict[PlacedTrigger, None] = {}
    for trigger in found.triggers if task.alike.most else ():
        acting = task.alike.on(model, trigger, task.prompts, task.seed)
        alike |= dict.fromkeys(task.alike.found(acting, task.alike.tried(acting, strings), task.base))
    more = [t for t in alike if t not in found.triggers]
    if more:
        task.say(f"removed with the trigger, which they act like: {len(more)} strings and places")
    return Job(
        triggers=found.triggers,
        prompts=task.prompts,
        carriers=found.roles or (Role.DENOISER, Role.TEXT),
        base=task.base,
        sampling=task.sampling,
        seed=task.seed,
        alike=more,
        changes=found.changes,
        tried=tried,
    )


def _searched(task: Task, model: Subject, record: Repair, strings: Sequence[str]) -> Found | None:
    """What is found in the repaired model; None where there is nothing new to search."""
    if task.search is None or record.rolled_back or not (record.changed_tensors or record.replaced):
        return None
    task.say("searching the repaired model")
    return task.search(model, strings)


def _round(job: Job, record: Repair, again: Found | None) -> RepairRound:
    return RepairRound(
        triggers=tuple(job.triggers),
        alike=tuple(job.alike),
        choices=record.choices,
        steps=record.steps,
        seconds=record.seconds,
        rolled_back=record.rolled_back,
        searched=again.searched if again else "",
        found=again.triggers if again else (),
        search_seconds=again.seconds if again else 0.0,
    )


def _roles(model: Subject, components: Sequence[str]) -> set[Role]:
    """What ``components`` do."""
    every = {name: part.role for name, part in model.parts.items()}
    return {role for c in components if (role := every.get(c) or model.accessories[c].role)}


def _whole(
    suspect: Subject, repaired: Subject, task: Task, done: Sequence[tuple[Repair, RepairRound]]
) -> Repair:
    """One record of all rounds; rounds that were rolled back changed nothing."""
    kept = [record for record, _ in done if not record.rolled_back]
    last = (kept or [record for record, _ in done])[-1]
    tensors, share = difference(suspect, repaired)
    triggers = dict.fromkeys(t for record in (kept or [last]) for t in record.triggers)
    return last.model_copy(
        update={
            "triggers": tuple(triggers),
            "steps": sum(record.steps for record, _ in done),
            "seconds": sum(record.seconds for record, _ in done),
            "changed_tensors": tensors,
            "changed_share": share,
            "history": tuple(row for record, _ in done for row in record.history),
            "replaced": tuple(dict.fromkeys(name for record in kept for name in record.replaced)),
            "choices": tuple(dict.fromkeys(c for record in kept for c in record.choices)),
            "rolled_back": not kept,
            "rounds": tuple(each for _, each in done),
        }
    )
