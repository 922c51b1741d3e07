"""nightlatch finds backdoors in image-generation checkpoints, names the trigger, unlearns it, and proves the removal.

The public names are loaded when they are first used, so that ``check`` needs no torch:

- ``check(source)``: the files, statically.
- ``load(source)``: a ``Subject`` from a folder, a file or a hub name, through the gate, or from an in-memory pipeline.
- ``scan(suspect, base, texts, sampling, budget)``: a ``Verdict``.
- ``clean(suspect, job, method="sau")``: (repaired ``Subject``, ``Repair``).
- ``verify(suspect, repaired, triggers, texts, sampling)``: a ``Scorecard``.
- ``Report``: the one schema that all outputs are views of.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nightlatch.errors import NightlatchError

__version__ = "0.1.0"

_LAZY = {
    "check": ("nightlatch.intake", "check"),
    "load": ("nightlatch.loading", "subject"),
    "scan": ("nightlatch.text2image.scan", "scan"),
    "Budget": ("nightlatch.text2image.scan", "Budget"),
    "clean": ("nightlatch.text2image.repair", "clean"),
    "Job": ("nightlatch.text2image.repair", "Job"),
    "verify": ("nightlatch.text2image.verify", "verify"),
    "Sampling": ("nightlatch.text2image.model", "Sampling"),
    "Subject": ("nightlatch.text2image.model", "Subject"),
    "Report": ("nightlatch.records", "Report"),
    "Verdict": ("nightlatch.records", "Verdict"),
}

__all__ = ["NightlatchError", "__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'nightlatch' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
