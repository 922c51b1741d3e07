"""How a run draws its pictures: settled once by the first verb, kept for the next ones, so that all of them measure the same model behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from nightlatch import runs
from nightlatch.errors import UsageError
from nightlatch.records import Record
from nightlatch.seeds import RESULTS

D = TypeVar("D", bound=Record)
KEY = "drawing"
"""Where the run's manifest holds it."""


class Drawing(Record):
    """What decides a picture beside model, prompt and seed."""

    prompts: str = Field(
        default="general", description="'general', 'emoji' (the testbed's grammar), or a file (prompts.from_lines)"
    )
    steps: int = Field(default=10, ge=2, le=1000, description="of DDIM")
    guidance: float = Field(default=4.0, ge=1.0, le=30.0)
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="auto", description="'auto': bf16 where the device computes it natively"
    )


def settle(run: runs.Run, given: dict[str, str | int | float], anew: bool = False) -> Drawing:
    """What is ``given``, the rest as ``run`` is recorded with, else by default; recorded in the run's manifest.

    Args:
        anew: what the run holds is going to be replaced.

    Raises:
        UsageError: a value is out of range, what is recorded is unusable, or ``given`` differs from what the run's results were made with.
    """
    before = of(run)
    for name, value in given.items():
        if before and not anew and any(map(run.wrote, RESULTS)) and getattr(before, name) != value:
            sentence = f"{run.path} was made with --{name} {getattr(before, name)}."
            raise UsageError(sentence, f"Leave --{name} out, or choose another run folder.")
    drawing = valid(Drawing, {**(before.model_dump() if before and not anew else {}), **given})
    if drawing != before:
        run.note(KEY, drawing.model_dump())
    return drawing


def valid(kind: type[D], values: Mapping[str, object]) -> D:
    """A ``kind`` of ``values``.

    Raises:
        UsageError: one is out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as e:
        raise UsageError(f"--{e.errors()[0]['loc'][0]}: {e.errors()[0]['msg'].lower()}.", "See --help.") from None


def of(run: runs.Run) -> Drawing | None:
    """What the manifest of ``run`` records; None where it records nothing.

    Raises:
        UsageError: what is recorded is unusable.
    """
    recorded = run.manifest().get(KEY)
    try:
        return None if recorded is None else Drawing.model_validate(recorded)
    except ValidationError:
        raise UsageError(f"{run.path / runs.MANIFEST} records no usable settings.", "Choose another run folder.") from None
