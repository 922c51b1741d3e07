"""Text that an attacker wrote, made harmless for terminals, tables and logs."""

from __future__ import annotations

import re
import unicodedata

_CUT = re.compile(r"\.\.\. \(\d+ more characters\)\Z")
_ESCAPE = re.compile(r"\\u\{([0-9A-F]{1,6})\}")
_MARKDOWN = frozenset("\\`*_{}[]<>()#+-.!|~")


def show(text: str, limit: int = 200) -> str:
    r"""Printable ASCII only: every other character is written as ``\u{HEX}``; at most about ``limit`` characters.

    A literal ``\u{`` is escaped as well, so that an uncut result stands for one text only. What was cut is counted.
    """
    out: list[str] = []
    length = 0
    for i, c in enumerate(text):
        if c == "\\" and text[i + 1 : i + 3] == "u{":
            c = "\\u{5C}"
        elif not " " <= c <= "~":
            c = f"\\u{{{ord(c):X}}}"
        if length + len(c) > limit:
            return "".join(out) + f"... ({len(text) - i} more characters)"
        out.append(c)
        length += len(c)
    return "".join(out)


def unshow(text: str) -> str | None:
    """The text that ``show`` made printable; None when it was cut, so that it cannot be known."""
    if _CUT.search(text):
        return None
    try:
        return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    except (ValueError, OverflowError):
        return None


def code_points(text: str) -> tuple[str, ...]:
    """One ``'U+043E CYRILLIC SMALL LETTER O'`` per character; characters without a name get their category."""
    return tuple(f"U+{ord(c):04X} {unicodedata.name(c, f'<{unicodedata.category(c)}>')}" for c in text)


def csv_cell(text: str) -> str:
    """``text`` for ``csv.writer`` (which does the quoting): printable, and never a formula to a spreadsheet."""
    shown = show(text, limit=32_000)
    return "'" + shown if shown.lstrip(" '\"")[:1] in {"=", "+", "-", "@"} or text[:1] in {"\t", "\r", "\n"} else shown


def markdown(text: str, limit: int = 200) -> str:
    """``text`` as plain words inside Markdown: no link, no HTML, no table or heading can start in it."""
    return "".join("\\" + c if c in _MARKDOWN else c for c in show(text, limit))


def is_plain(text: str) -> bool:
    """Whether ``text`` holds no control, direction, zero-width or surrogate character (tab and newline are fine)."""
    return (text.isascii() and text.isprintable()) or all(c in "\t\n\r" or _visible(c) for c in text)


def _visible(c: str) -> bool:
    return unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def display_path(path: str) -> str:
    """A file name or path for a record: valid UTF-8 always, harmless in a terminal, cut at 300 characters."""
    return show(path, limit=300)
