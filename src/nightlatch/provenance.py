"""Where results come from: command line, versions, commit; and tables of results whose rows say so."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nightlatch.folder import write_whole

PACKAGES = ("nightlatch", "torch", "diffusers", "transformers", "safetensors", "numpy")


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """What the user typed, as one line that a shell understands; the program by its name, without its
    folder.
    """
    return shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Python and the packages that decide the result, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def commit() -> str:
    """Short commit of the checkout that the package runs from, 'unknown' when it is installed or has no
    commit.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown" if done.returncode == 0 else "unknown"


def write_figures(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], command: str, seed: int
) -> None:
    """Write a table of results: one JSON list, one row per line, each starting with ``command``, ``seed``,
    ``commit``.

    A row that brings one of these three keys itself (its own seed, say) keeps its own value.
    """
    head = {"command": command, "seed": seed, "commit": commit()}
    lines = [dumps({**head, **row}, ensure_ascii=False) for row in rows]
    write_whole(path, "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n")


def add_figure(path: str | os.PathLike[str], row: Mapping[str, Any], command: str, seed: int) -> None:
    """Add one row to a table of results, keeping the rows that are there."""
    before = json.loads(Path(path).read_text("utf-8")) if Path(path).is_file() else []
    write_figures(path, [*before, row], command, seed)


def plain(value: Any) -> Any:
    """Containers, records, numpy numbers and non-finite floats as what JSON has; non-finite ones as in the
    records: strings.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [
            plain(item) for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)
        ]
    if isinstance(value, BaseModel):
        return plain(json.loads(value.model_dump_json()))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def dumps(value: Any, *, sort_keys: bool = False, ensure_ascii: bool = True) -> str:
    """``plain(value)`` as one line of JSON."""
    separators = (",", ":") if sort_keys else (", ", ": ")
    return json.dumps(
        plain(value), sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=False, separators=separators
    )
