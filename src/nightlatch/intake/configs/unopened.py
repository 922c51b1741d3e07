"""Configs and shard indices of what is not staged: other loaders read them, so they may name neither code nor
files elsewhere.
"""

from __future__ import annotations

from typing import Any

from nightlatch.intake.case import Case
from nightlatch.intake.configs import components
from nightlatch.intake.configs.classes import STABLE_DIFFUSION
from nightlatch.intake.files import jsonread, kinds, weights
from nightlatch.intake.files.inventory import Entry

MAX_FILES = 60
MAX_TOGETHER = 12 << 20
"""Files and bytes that are read, those in the folders of components first."""
_COMPONENTS = frozenset(STABLE_DIFFUSION.slots) | frozenset(STABLE_DIFFUSION.optional)


def read(case: Case) -> None:
    """Findings for all configs and shard indices that no rule has dealt with; they stay leftovers."""
    entries = [e for e in case.inventory.entries.values() if _is_meant(case, e)]
    together = 0
    for n, entry in enumerate(sorted(entries, key=lambda e: not _in_component(e)), start=1):
        together += entry.size
        if n > MAX_FILES or together > MAX_TOGETHER:
            if _in_component(entry):
                case.findings.add(
                    "inventory-limit", entry.path, "There are more configs and shard indices than are read."
                )
            return
        _judge(case, entry)
        case.handled.discard(entry.path)


def _is_meant(case: Case, entry: Entry) -> bool:
    name = entry.name.lower()
    if (
        entry.path in case.handled
        or entry.kind in kinds.NOT_FILES
        or entry.kind in ("lfs-pointer", "apple-double")
    ):
        return False
    return (name.endswith("config.json") and name != "adapter_config.json") or _is_index(entry)


def _is_index(entry: Entry) -> bool:
    name = entry.name.lower()
    return ".index." in name and name.endswith(".json")


def _in_component(entry: Entry) -> bool:
    """Whether it lies where a pipeline's loader looks."""
    return entry.parent.lower() in _COMPONENTS


def _judge(case: Case, entry: Entry) -> None:
    strict = _in_component(entry)
    limit = weights.INDEX_BYTES if _is_index(entry) else jsonread.MAX_BYTES
    value = (
        case.json(entry.path, limit=limit, infinite=True) if strict else _silently(case, entry.path, limit)
    )
    if value is None:
        return
    if _is_index(entry):
        weights.check_names(case, entry.path, value.get("weight_map"), strict=strict)
    else:
        components.check_common(case, entry.path, value, quantised=strict)


def _silently(case: Case, path: str, limit: int) -> dict[str, Any] | None:
    """The JSON object at ``path``; None, without a finding, when it is none: no loader looks there by
    itself.
    """
    data = case.read(path, limit)
    try:
        value = jsonread.parse(data or b"", max_bytes=limit)
    except jsonread.JsonProblem:
        return None
    return value if isinstance(value, dict) else None
