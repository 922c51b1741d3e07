"""From a name to a model: what every verb that loads one needs, and the way through the gate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightlatch import families, intake
from nightlatch.errors import UsageError
from nightlatch.families import Family
from nightlatch.intake.hub.source import parse as hub_name
from nightlatch.plan import Options, Plan
from nightlatch.records import Manifest

LOAD_SECONDS, LOAD_MEGABYTES = 120, 8000
"""What loading a small model may take, libraries included; larger models get more by their size."""
MAX_LOAD_SECONDS, MAX_LOAD_MEGABYTES = 1800, 128_000
"""What loading any model may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A model whose files were checked and copied to a private place, not loaded yet.

    Args:
        under: the base's private folder, where the model needs one to be loaded.
        manifests: of all that was copied.
    """

    name: str
    manifest: Manifest
    family: Family
    path: Path
    under: Path | None = None
    manifests: tuple[Manifest, ...] = field(default=())

    def load(self, plan: Plan) -> Any:
        """Loaded once in a guarded child process, then here.

        Raises:
            UnreadableModel, NotScanned: it does not load, or not whole; loading crashed, took too long or too
                much memory.
        """
        seconds, megabytes = load_limits(*self.manifests)
        intake.guarded(
            self.family.rehearse,
            str(self.path),
            str(self.under or ""),
            seconds=seconds,
            megabytes=megabytes,
            what="Loading the model",
        )
        model = self.family.load(self.path, self.under, plan)
        model.name = self.name
        return model


@contextmanager
def ready(source: Path | str, base: Path | str | None = None) -> Iterator[Ready]:
    """Through the gate: fetch if it is a hub name, check, and copy what was checked.

    Args:
        base: what a model goes on that cannot be loaded alone; not used for others.

    Raises:
        UsageError: ``source`` cannot be loaded without a base, and none is given.
        UnreadableModel: refused, with the reason.
        Departs: a loader would use other weights than those that are staged.
        NotScanned: it is of a form that is not loaded.
    """
    require_there(source)
    located = intake.locate(source)
    with ExitStack() as stack:
        staged = stack.enter_context(intake.stage(located.path))
        manifest = located.annotated(staged.manifest)
        intake.require_alone(manifest)
        family = families.of(manifest)
        made = Ready(
            name=Path(source).name,
            manifest=manifest,
            family=family,
            path=staged.path,
            manifests=(staged.manifest,),
        )
        if not (what := family.needs_base(staged.path)):
            yield made
            return
        if base is None:
            raise UsageError(f"{source} is {what}.", "Name the model it was made from with --base.")
        beside = stack.enter_context(intake.stage(intake.locate(base).path))
        if family.needs_base(beside.path):
            raise UsageError(
                f"{base} is no whole model.", "Name one with --base: a LoRA or a single file needs one."
            )
        yield Ready(
            name=made.name,
            manifest=manifest,
            family=family,
            path=staged.path,
            under=beside.path,
            manifests=(staged.manifest, beside.manifest),
        )


def require_there(*sources: Path | str | None) -> None:
    """Each that is given must be a path on this disk or a hub name: a slip of the pen is no verdict on a model.

    Raises:
        UsageError: one is neither.
    """
    for source in sources:
        if source is not None and not os.path.lexists(source) and hub_name(os.fspath(source)) is None:
            sentence = f"{source} is neither a folder nor a file here."
            raise UsageError(sentence, "Give a folder, a file, or a hub name like org/name.")


def load(source: Path | str, plan: Plan, base: Path | str | None = None) -> Any:
    """The model of ``source``, which must be of the plan's family.

    Raises:
        UsageError: it is of another family; else as ``ready`` and ``Ready.load`` do.
    """
    with ready(source, base) as made:
        if made.family.name != plan.family:
            raise UsageError(f"{source} is another kind of model.", "Name two of one kind.")
        return made.load(plan)


def model(source: object, options: Options, base: Path | str | None = None) -> tuple[Family, Plan, Any]:
    """(family, plan, model) of a path, a hub name, or a copy of an object in memory.

    Raises:
        UsageError: no family takes such an object; else as ``ready`` and ``Ready.load`` do.
    """
    seed = options.seed or 0
    if isinstance(source, str | Path):
        with ready(source, base) as made:
            plan = plan_of(made.family, options, seed)
            return made.family, plan, made.load(plan)
    for entry in families.TABLE:
        family = families.named(entry.name)
        if family.takes(source):
            plan = plan_of(family, options, seed)
            return family, plan, family.adopt(source, plan)
    raise UsageError(
        f"A {type(source).__name__} is no model that is supported.", "Give a path, a hub name or a pipeline."
    )


def plan_of(family: Family, options: Options, seed: int) -> Plan:
    """A plan that no run folder keeps."""
    return Plan(
        family=family.name, settings=family.settings(options.settings), seed=seed, device=options.device
    )


def usable(device: str) -> None:
    """Whether torch can compute on ``device`` here.

    Raises:
        UsageError: it cannot.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError):
        raise UsageError(f"There is no device {device!r} on this machine.", "Use --device cpu.") from None


def load_limits(*manifests: Manifest) -> tuple[float, int]:
    """(seconds, megabytes) that loading may take, by the size of what was staged; what lies beside it gives
    nothing.
    """
    staged = sum(f.size for m in manifests for f in m.files if f.staged) >> 20
    return min(MAX_LOAD_SECONDS, LOAD_SECONDS + staged / 20), min(
        MAX_LOAD_MEGABYTES, LOAD_MEGABYTES + 6 * staged
    )
