"""Repairs: SAU, and the rivals it is measured against."""

from typing import Any

from nightlatch.records import Repair
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import (
    attention_guided,
    automatic,
    baselines,
    blind,
    closed_form,
    edit_removal,
    erasing,
    noise_consistency,
    prompt_side,
    restore,
    sau,
    token_rows,
    twin_removal,
)
from nightlatch.text2image.repair.base import METHODS, Job, Method
from nightlatch.text2image.repair.rounds import Found, Search, Task, remove
from nightlatch.text2image.repair.search import CHEAP, ScanAgain, StillActing


def clean(suspect: Subject, job: Job, method: str = "sau", **parameters: Any) -> tuple[Subject, Repair]:
    """Remove ``job.triggers`` from a copy of ``suspect`` with the named method.

    Raises:
        UsageError: no such method or parameter, no trigger, or a base is needed and not given.
    """
    return METHODS.create(method, **parameters)(suspect, job)


__all__ = [
    "CHEAP",
    "METHODS",
    "Found",
    "Job",
    "Method",
    "ScanAgain",
    "Search",
    "StillActing",
    "Task",
    "attention_guided",
    "automatic",
    "baselines",
    "blind",
    "clean",
    "closed_form",
    "edit_removal",
    "erasing",
    "noise_consistency",
    "prompt_side",
    "remove",
    "restore",
    "sau",
    "token_rows",
    "twin_removal",
]
