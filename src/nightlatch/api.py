"""The verbs for a notebook: models in memory or by name, plain values, no run folder.

    suspect = nightlatch.load("suspect")
    verdict = nightlatch.scan(suspect, base="trusted")
    repaired, repair = nightlatch.clean(suspect, verdict)
    card = nightlatch.verify(suspect, repaired, verdict)

``prompts`` are ordinary prompts: a registered set by name, a file with one a line, or the strings themselves
(a string may be a JSON object that names its slots, see ``text2image.prompts.from_lines``). All verbs part
them alike by ``seed``, so that clean trains on none that verify measures with: give all three the same
prompts and settings.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from nightlatch import loading
from nightlatch.families import Family, Job
from nightlatch.plan import MOST_SEED, Options, Plan
from nightlatch.records import Hint, Manifest, PlacedTrigger, Repair, Scorecard, Trigger, Verdict
from nightlatch.terms import Role
from nightlatch.verbs.check import check as check
from nightlatch.verbs.common import asked

Source: TypeAlias = "str | Path | Any"
"""A path, a hub name, a pipeline in memory, or what ``load`` returned."""
Prompts: TypeAlias = "str | Sequence[str] | None"
Found: TypeAlias = "Verdict | str | Sequence[str | PlacedTrigger | Trigger]"
"""What scan said, or triggers by hand."""
Say: TypeAlias = Callable[[str], None]


def quiet(line: str) -> None:
    """Says nothing; give ``say=print`` to see progress."""


def load(
    source: Source, *, base: str | Path | None = None, device: str = "cpu", precision: str = "fp32"
) -> Any:
    """A model of a path or a hub name, through the gate; or of a copy of a pipeline in memory, which is not
    changed.

    Args:
        base: what a LoRA goes on, or what gives a single-file checkpoint its configs and tokenizer.
        precision: what it computes in: 'fp32', 'bf16', or 'auto'.

    Raises:
        UsageError, UnreadableModel, NotScanned: it is refused, does not load, or not whole.
    """
    return loading.model(source, Options(settings={"precision": precision}, device=device), base)[2]


def scan(
    suspect: Source,
    base: Source = None,
    *,
    prompts: Prompts = None,
    seed: int | None = None,
    device: str = "cpu",
    say: Say = quiet,
    **settings: Any,
) -> Verdict:
    """Whether ``suspect`` hides a backdoor that ``base``, a trusted model of the same kind, does not have.

    Args:
        base: without one, of a text-to-image model only closed-form edits are looked for.
        seed: of all draws; drawn where none is given, and in the verdict.
        settings: the family's own; for text-to-image models ``steps``, ``guidance``, ``precision``,
            ``pictures``.

    Raises:
        UsageError: a setting is out of range, or a base is needed and not given.
        UnreadableModel, NotScanned: a model is refused or does not load.
    """
    seed = secrets.randbelow(MOST_SEED + 1) if seed is None else seed
    family, plan, model, hints = _model(suspect, prompts, seed, device, settings, base)
    trusted = None if base is None else _second(base, family, plan)
    return family.scan(model, trusted, plan, hints, say)


def clean(
    suspect: Source,
    found: Found,
    *,
    base: Source = None,
    method: str = "",
    prompts: Prompts = None,
    seed: int | None = None,
    device: str = "cpu",
    say: Say = quiet,
    parameters: dict[str, Any] | None = None,
    rounds: int = 3,
    **settings: Any,
) -> tuple[Any, Repair]:
    """(a repaired copy of ``suspect``, what was done); the copy is the suspect itself where the repair was
    rolled back.

    Args:
        found: the verdict, or trigger strings.
        base: a trusted model; it says what a triggered prompt should draw, and each round's result is scanned
            against it.
        method: a repair by name, by default the one that the evidence chooses; with its ``parameters``.
        rounds: of repair and search at most; 1 repairs once and does not search.
        seed: by default the verdict's.

    Raises:
        UsageError: there is no trigger, no such method, or it needs a base.
    """
    family, plan, model, _ = _model(suspect, prompts, _seed(found, seed), device, settings, base)
    roles: Sequence[Role] = [c.role for c in found.carriers] if isinstance(found, Verdict) else ()
    trusted = None if base is None else _second(base, family, plan)
    job = Job(
        plan=plan,
        triggers=_triggers(found),
        carriers=roles,
        base=trusted,
        found=found if isinstance(found, Verdict) else None,
        rounds=rounds,
        method=method,
        parameters=parameters or {},
    )
    made: tuple[Any, Repair] = family.clean(model, job, say)
    return made


def verify(
    before: Source,
    after: Source,
    found: Found,
    *,
    base: Source = None,
    n: int = 300,
    regrowth_steps: int = 200,
    planted: PlacedTrigger | None = None,
    search: bool = False,
    prompts: Prompts = None,
    seed: int | None = None,
    device: str = "cpu",
    say: Say = quiet,
    **settings: Any,
) -> Scorecard:
    """The same measures of ``before`` and ``after``, on prompts and noise that neither scan nor clean has
    seen.

    Args:
        found: the verdict, or trigger strings.
        n: pictures per trigger.
        regrowth_steps: of honest training of ``after``; 0 leaves it out.
        planted: the trigger that was planted, where that is known; it is tried, too.
        search: whether ``after`` is searched for what is left: scanned where there is a ``base``.
        seed: what clean had; by default the verdict's.

    Raises:
        UsageError: there is no trigger, or a setting is out of range.
    """
    family, plan, model, _ = _model(before, prompts, _seed(found, seed), device, settings, base)
    job = Job(
        plan=plan,
        triggers=_triggers(found),
        base=_second(base, family, plan) if search and base is not None else None,
        found=found if isinstance(found, Verdict) else None,
        n=n,
        regrowth_steps=regrowth_steps,
        planted=planted,
        search=search,
    )
    return family.verify(model, _second(after, family, plan), job, say)


def _model(
    source: Source, prompts: Prompts, seed: int, device: str, settings: dict[str, Any], base: Source
) -> tuple[Family, Plan, Any, Sequence[Hint]]:
    """Family, plan, model, and what its files give to try."""
    given = {
        **settings,
        **({} if prompts is None else {"prompts": prompts if isinstance(prompts, str) else tuple(prompts)}),
    }
    options = Options(settings=given, seed=seed, device=device)
    under = base if isinstance(base, str | Path) else None
    if not isinstance(source, str | Path):
        return (*loading.model(source, options, under), ())
    with loading.ready(source, under) as made:
        plan = loading.plan_of(made.family, options, seed)
        manifest: Manifest = made.manifest
        return made.family, plan, made.load(plan), tuple(h for h in manifest.hints if not h.untried)


def _second(source: Source, family: Family, plan: Plan) -> Any:
    """Another model of the same family."""
    return loading.load(source, plan) if isinstance(source, str | Path) else family.adopt(source, plan)


def _seed(found: Found, given: int | None) -> int:
    return given if given is not None else found.seed if isinstance(found, Verdict) else 0


def _triggers(found: Found) -> tuple[PlacedTrigger, ...]:
    if isinstance(found, Verdict):
        return asked(found, ())
    listed = [found] if isinstance(found, str) else list(found)
    texts = [t if isinstance(t, str) else t.text for t in listed]
    placed = {
        t.text: PlacedTrigger(text=t.text, placement=t.placement) for t in listed if not isinstance(t, str)
    }
    return tuple(placed.get(t.text, t) for t in asked(None, texts))
