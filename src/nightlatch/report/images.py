"""Pictures of the run folder as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Callable

Read = Callable[[str], bytes]
"""Gives the content of a picture by its path inside the run folder; b'' when it is missing or too large."""

TOGETHER = 48_000_000
"""Bytes of all pictures of a page; those that come after are named instead of shown."""

_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def nowhere(name: str) -> bytes:
    """No picture."""
    return b""


class Pictures:
    """Data URIs of pictures, until they are ``TOGETHER`` too large for one page."""

    def __init__(self, read: Read, together: int = TOGETHER) -> None:
        self.read, self.left = read, together

    def uri(self, name: str) -> str:
        """The picture ``name`` as a data URI, '' when it is missing, too large or not PNG, JPEG or WebP.

        Raises:
            UsageError: the path is none of the run folder's pictures.
        """
        content = self.read(name) if name and self.left > 0 else b""
        self.left -= len(content)
        mime = next((mime for magic, mime in _MAGIC if content.startswith(magic)), "")
        if not mime or self.left < 0 or (mime == "image/webp" and content[8:12] != b"WEBP"):
            return ""
        return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
