"""A folder of one model, one config and one file of weights: what the checks of every such kind share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nightlatch.intake.case import Case
from nightlatch.intake.configs import components, crosscheck
from nightlatch.intake.files import jsonread, weights
from nightlatch.intake.files.header import Tensor

Bounded = Callable[[Case, Mapping[str, Any]], bool]
Fits = Callable[[Case, Mapping[str, Any], Mapping[str, Tensor]], bool]


def peek(case: Case, config: str, tensors: str) -> Mapping[str, Any] | None:
    """What the file ``config`` says, where ``tensors`` lies beside it; None where it cannot be read. Adds no
    finding.
    """
    entry = case.inventory.entries.get(config)
    if entry is None or tensors not in case.inventory.entries or entry.kind != "json":
        return None
    try:
        with entry.open() as handle:
            value = jsonread.parse(handle.read(jsonread.MAX_BYTES + 1))
    except (OSError, jsonread.JsonProblem):
        return None
    return value if isinstance(value, dict) else None


def check(case: Case, cls: str, config: str, tensors: str, *, bounded: Bounded, fits: Fits) -> None:
    """Findings for the two files; where ``bounded`` (of the config) and ``fits`` (of the tensors to it) hold,
    they are planned to be staged as they are, as a model of class ``cls``.
    """
    value = case.json(config)
    sound = value is not None and components.check_common(case, config, value) and bounded(case, value)
    header = case.header(tensors)
    if header is None:
        return
    weights.check_metadata(case, tensors, header)
    weights.check_tail(case, tensors)
    crosscheck.check_types(header.tensors, tensors, case.findings)
    if sound and value is not None and fits(case, value, header.tensors):
        case.stage(config, config)
        case.stage(tensors, tensors)
        case.component_files[""] = [tensors]
        case.pipeline_class = cls
