"""clean: remove what scan found (or the triggers that are named) from the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nightlatch import loading, runs
from nightlatch import plan as plans
from nightlatch.errors import UsageError
from nightlatch.families import Family, Job, Say, WritesAdapters
from nightlatch.plan import Options
from nightlatch.records import Repair, Verdict
from nightlatch.terms import Role
from nightlatch.verbs.common import Evidence, asked, maybe, require_same

ADAPTER = ".safetensors"
"""How the name of an output ends that is to be an adapter."""


def clean(
    run: runs.Run,
    source: Path,
    out: Path,
    options: Options,
    say: Say,
    *,
    triggers: Sequence[str] = (),
    method: str = "",
    base: Path | None = None,
    inputs: Mapping[str, Path] | None = None,
    rounds: int = 3,
    blind: bool = False,
) -> Repair:
    """Remove ``triggers`` (default: what scan found) from ``source``; writes ``out``, a folder, or a
    LoRA where it is named .safetensors, and repair.json.

    Args:
        method: name of a repair; by default the usual one of the model's family.
        inputs: files beside the model, by the option's name, for families whose repairs work on these
            instead of triggers.
        base: a trusted model. It says what a triggered prompt should draw, and what is repaired is scanned
            against it.
        rounds: of repair and search at most; 1 repairs once and does not search.
        blind: whether the repair that is told no trigger works alone, whatever scan found.

    Raises:
        UsageError: nothing to remove, ``out`` is there already, no such method, it needs a ``base``, or
            ``run`` is about another model.
    """
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already.", "Choose another output folder; nothing is overwritten.")
    verdict = maybe(run, "verdict", Verdict)
    if blind and (triggers or method):
        raise UsageError(
            "A blind repair is told no trigger and no method.",
            "Leave out --trigger and --method, or --blind.",
        )
    wanted = () if blind or (inputs and not triggers) else asked(verdict, triggers)
    roles = [c.role for c in verdict.carriers] if verdict else []
    if not blind and base is None and roles and all(role is Role.TOKENIZER for role in roles):
        raise UsageError(
            "The trigger acts in the tokenizer, and no weight differs from the base.",
            "Give the base with --base, whose tokenizer takes its place.",
        )
    if out.suffix == ADAPTER and base is None:
        raise UsageError("A LoRA is written as what it adds to its base.", "Give the base with --base.")
    with loading.ready(source, base) as made:
        repair = made.family.repairs.create("blind" if blind else method or made.family.usual)
        if repair.needs_base and base is None:
            raise UsageError(f"{repair.name} needs a trusted base.", "Give one with --base.")
        require_same(run, made.manifest)
        plan = plans.settle(run, made.family, options)
        suspect, manifest, family = made.load(plan), made.manifest, made.family
    trusted = loading.load(base, plan) if base else None
    job = Job(
        plan=plan,
        triggers=wanted,
        carriers=roles,
        base=trusted,
        found=verdict,
        rounds=1 if blind else rounds,  # it searches for itself
        method=repair.name,
        inputs=inputs or {},
    )
    repaired, record = family.clean(suspect, job, say)
    if record.changed_tensors or record.replaced:
        write(family, repaired, trusted, out)
        record = record.model_copy(update={"output": str(out)})
    drawn = maybe(run, "evidence", Evidence) or Evidence()
    run.drop("repair", "scorecard")
    run.write("evidence", Evidence(images=tuple(i.model_copy(update={"repaired": ""}) for i in drawn.images)))
    run.write("manifest", manifest)
    run.write("repair", record)
    return record


def write(family: Family, model: Any, base: Any, out: Path) -> None:
    """Write ``model`` as the folder ``out``, or, where that is named .safetensors, as what it adds to ``base``.

    Raises:
        UsageError: models of this family are no adapters.
        NotWritten: ``out`` is there already, cannot be written, or cannot hold it.
    """
    if out.suffix != ADAPTER:
        family.save(model, out)
    elif isinstance(family, WritesAdapters):
        family.save_adapter(model, base, out)
    else:
        raise UsageError(f"Models of the family {family.name} are no adapters.", "Name a folder with -o.")
