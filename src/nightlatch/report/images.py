"""Pictures of the run folder as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
from pathlib import Path, PurePosixPath, PureWindowsPath

from nightlatch.errors import UsageError

LIMIT = 8_000_000
"""Bytes; a larger picture is named instead of shown."""

_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def data_uri(folder: Path | None, name: str) -> str:
    """The picture ``name`` of ``folder`` as a data URI, '' when it is missing, too large or not PNG, JPEG or WebP.

    Raises:
        UsageError: the path is absolute, climbs out of the folder, or is a link that does.
    """
    path = _inside(folder, name)
    if path is None or not path.is_file() or path.stat().st_size > LIMIT:
        return ""
    content = path.read_bytes()
    mime = next((mime for magic, mime in _MAGIC if content.startswith(magic)), "")
    if not mime or (mime == "image/webp" and content[8:12] != b"WEBP"):
        return ""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _inside(folder: Path | None, name: str) -> Path | None:
    """The path of ``name``, which must stay in ``folder``; None when there is nothing to look for."""
    if not name:
        return None
    windows = PureWindowsPath(name)
    leaves = PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name
    if leaves:
        raise UsageError(f"The picture path {name!r} leaves the run folder.", "Only files inside the run folder are shown.")
    if folder is None:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UsageError(f"The picture path {name!r} leaves the run folder.", "Only files inside the run folder are shown.")
    return path
