"""The report as JSON: the whole record, ASCII only, so that no terminal or editor is fooled by what a model
contains.
"""

from __future__ import annotations

import json

from pydantic import ValidationError

from nightlatch import exits
from nightlatch.errors import UsageError
from nightlatch.exits import FailOn
from nightlatch.records import Report

AROUND = ("tool", "exit_code")
"""What stands in the file beside the record."""


def render(report: Report, fail_on: FailOn = "warning") -> str:
    """The record as indented JSON, behind the tool's version and the exit code; all but printable ASCII is
    written as ``\\uXXXX``.
    """
    version = report.environment.versions.get("nightlatch", "unknown")
    around = {
        "tool": {"name": "nightlatch", "version": version},
        "exit_code": exits.of_report(report, fail_on),
    }
    text = json.dumps(
        {**around, **json.loads(report.model_dump_json())}, indent=2, ensure_ascii=True, allow_nan=False
    )
    return text.replace("\x7f", "\\u007f") + "\n"


def parse(text: str | bytes) -> Report:
    """The record back from its JSON.

    Raises:
        UsageError: it is not a report of this version.
    """
    remedy = "Write it again with 'nightlatch report RUN' of this version."
    try:
        values = json.loads(text)
        record = json.dumps({k: v for k, v in values.items() if k not in AROUND})
        return Report.model_validate_json(record)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file as a whole"
        raise UsageError(
            f"This is not a report that this version can read (first problem: {where}).", remedy
        ) from error
    except (ValueError, AttributeError, RecursionError):
        raise UsageError("This is not a report that this version can read.", remedy) from None
