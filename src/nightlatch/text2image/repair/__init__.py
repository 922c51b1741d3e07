"""Repairs: SAU, and the rivals it is measured against."""

from typing import Any

from nightlatch.records import Repair
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import (
    attention_guided,
    baselines,
    blind,
    closed_form,
    erasing,
    noise_consistency,
    prompt_side,
    restore,
    sau,
)
from nightlatch.text2image.repair.base import METHODS, Job, Method


def clean(suspect: Subject, job: Job, method: str = "sau", **parameters: Any) -> tuple[Subject, Repair]:
    """Remove ``job.triggers`` from a copy of ``suspect`` with the named method.

    Raises:
        UsageError: no such method or parameter, no trigger, or a base is needed and not given.
    """
    return METHODS.create(method, **parameters)(suspect, job)


__all__ = [
    "METHODS",
    "Job",
    "Method",
    "attention_guided",
    "baselines",
    "blind",
    "clean",
    "closed_form",
    "erasing",
    "noise_consistency",
    "prompt_side",
    "restore",
    "sau",
]
