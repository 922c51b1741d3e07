"""The report as JSON: the whole record, ASCII only, so that no terminal or editor is fooled by what a model contains."""

from __future__ import annotations

import json

from pydantic import ValidationError

from nightlatch.errors import UsageError
from nightlatch.records import Report


def render(report: Report) -> str:
    """The record as indented JSON; everything but printable ASCII is written as ``\\uXXXX``."""
    text = json.dumps(json.loads(report.model_dump_json()), indent=2, ensure_ascii=True, allow_nan=False)
    return text.replace("\x7f", "\\u007f") + "\n"


def parse(text: str | bytes) -> Report:
    """The record back from its JSON.

    Raises:
        UsageError: it is not a report of this version.
    """
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file as a whole"
        sentence = f"This is not a report that this version can read (first problem: {where})."
        raise UsageError(sentence, "Write it again with 'nightlatch report RUN' of this version.") from error
