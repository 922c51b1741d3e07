"""nightlatch finds backdoors in models that make or read pictures, names the trigger, unlearns it, and proves the
removal.

The public names are loaded when they are first used, so that ``check`` needs no torch:

- ``check(source)``: the files, statically: a ``Manifest``.
- ``load(source)``: a model from a folder, a file or a hub name, through the gate, or from an in-memory
  pipeline.
- ``scan(suspect, base)``: a ``Verdict``.
- ``clean(suspect, verdict)``: (repaired model, ``Repair``).
- ``verify(suspect, repaired, verdict)``: a ``Scorecard``.
- ``Report``: the one schema that all outputs are views of.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nightlatch.errors import NightlatchError

if TYPE_CHECKING:
    from nightlatch.api import check, clean, load, scan, verify
    from nightlatch.records import (
        Manifest,
        PlacedTrigger,
        Placement,
        Repair,
        Report,
        Scorecard,
        Trigger,
        Verdict,
    )
    from nightlatch.text2image.model import Sampling, Subject
    from nightlatch.text2image.prompts import Prompt

__version__ = "0.1.0"

_LAZY = {
    **dict.fromkeys(("check", "clean", "load", "scan", "verify"), "nightlatch.api"),
    **dict.fromkeys(
        ("Manifest", "PlacedTrigger", "Placement", "Repair", "Report", "Scorecard", "Trigger", "Verdict"),
        "nightlatch.records",
    ),
    "Prompt": "nightlatch.text2image.prompts",
    "Sampling": "nightlatch.text2image.model",
    "Subject": "nightlatch.text2image.model",
}

__all__ = [
    "Manifest",
    "NightlatchError",
    "PlacedTrigger",
    "Placement",
    "Prompt",
    "Repair",
    "Report",
    "Sampling",
    "Scorecard",
    "Subject",
    "Trigger",
    "Verdict",
    "__version__",
    "check",
    "clean",
    "load",
    "scan",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'nightlatch' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
