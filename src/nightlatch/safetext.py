r"""Text that an attacker wrote, made harmless: ``show`` for terminals, tables and logs, ``visible`` for pages
that may keep other scripts.

Both write what they do not keep as ``\u{HEX}``, and a literal ``\u{`` as ``\u{5C}u{``, so that an uncut
result stands for one text only.
"""

from __future__ import annotations

import re
import unicodedata

_CUT = re.compile(r"\.\.\. \(\d+ more characters\)\Z")
_ESCAPE = re.compile(r"\\u\{([0-9A-F]{1,6})\}")
_ESCAPE_LIKE = re.compile(r"\\(?=u\{)")
_MARKDOWN = frozenset("\\`*_{}[]<>()#+-.!|~")
_STEERING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
"""Controls but tab and line ends, marks of writing direction, line separators, interlinear marks,
surrogates.
"""
_ACTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Controls, formats (bidi, zero-width, tags), surrogates, private use, unassigned, line and paragraph
separators.
"""
_BLANK = set("\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800")
"""Letters and symbols that draw nothing: Hangul fillers, Khmer vowels, the blank Braille pattern."""


def show(text: str, limit: int = 200) -> str:
    r"""Printable ASCII only: every other character is written as ``\u{HEX}``; at most about ``limit``
    characters. What was cut is counted.
    """
    out: list[str] = []
    length = 0
    for i, c in enumerate(text):
        if not " " <= c <= "~" or text[i : i + 3] == "\\u{":
            c = _escaped(c)
        if length + len(c) > limit:
            return "".join(out) + f"... ({len(text) - i} more characters)"
        out.append(c)
        length += len(c)
    return "".join(out)


def visible(text: str, limit: int = 2000) -> str:
    r"""The text with every ``hidden`` character written as ``\u{202E}``; cut, and saying so, after ``limit``
    characters.

    The result holds no control, bidi, zero-width or terminal-escape character, and keeps letters of every
    script.
    """
    kept = _ESCAPE_LIKE.sub(lambda _: _escaped("\\"), text[:limit])
    shown = "".join(_escaped(c) if hidden(c) else c for c in kept)
    return shown if len(text) <= limit else f"{shown} … (+{len(text) - limit} characters)"


def inert(text: str) -> str:
    r"""The text with every ``hidden`` character but a line feed written as ``\u{202E}``, uncut; what is
    escaped already stays as it is.

    For the last step before a terminal: the result may stand for two texts, and acts on nothing.
    """
    return "".join(_escaped(c) if c != "\n" and hidden(c) else c for c in text)


def hidden(character: str) -> bool:
    """Whether a character would not be seen, would look like a plain space, or would act on its
    neighbours.
    """
    if character == " ":
        return False
    category = unicodedata.category(character)
    return category in _ACTING or category in {"Zs", "Mn", "Me"} or character in _BLANK


def unusual(text: str, limit: int = 6) -> tuple[str, ...]:
    """Code points of the visible non-ASCII characters, which may be look-alikes: ``('U+0430',)`` for a
    Cyrillic a.
    """
    found = list(dict.fromkeys(f"U+{ord(c):04X}" for c in text if ord(c) > 127 and not hidden(c)))
    return (*found[:limit], "…") if len(found) > limit else tuple(found)


def unshow(text: str) -> str | None:
    """The text that ``show`` made printable; None when it was cut, so that it cannot be known."""
    if _CUT.search(text):
        return None
    try:
        return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    except (ValueError, OverflowError):
        return None


def code_points(text: str) -> tuple[str, ...]:
    """One ``'U+043E CYRILLIC SMALL LETTER O'`` per character; characters without a name get their
    category.
    """
    return tuple(f"U+{ord(c):04X} {unicodedata.name(c, f'<{unicodedata.category(c)}>')}" for c in text)


def csv_cell(text: str) -> str:
    """``text`` for ``csv.writer`` (which does the quoting): printable, and never a formula to a
    spreadsheet.
    """
    shown = show(text, limit=32_000)
    return (
        "'" + shown
        if shown.lstrip(" '\"")[:1] in {"=", "+", "-", "@"} or text[:1] in {"\t", "\r", "\n"}
        else shown
    )


def markdown(text: str, limit: int = 200) -> str:
    """``text`` as plain words inside Markdown: no link, no HTML, no table or heading can start in it."""
    return "".join("\\" + c if c in _MARKDOWN else c for c in show(text, limit))


def sarif_text(text: str) -> str:
    """Harmless ``text`` as plain words of a SARIF 2.1.0 message: no link (3.11.6) and no placeholder (3.11.5)
    in it.
    """
    return "".join("\\" + c if c in "[]\\" else 2 * c if c in "{}" else c for c in text)


def steers(text: str) -> bool:
    """Whether ``text`` could move a terminal's cursor or turn text around; joiners of emoji and new
    characters do not.
    """
    return not (text.isascii() and text.isprintable()) and _STEERING.search(text) is not None


def is_plain(text: str) -> bool:
    """Whether ``text`` holds no control, direction, zero-width or surrogate character (tab and newline are
    fine).
    """
    return (text.isascii() and text.isprintable()) or all(
        c in "\t\n\r" or unicodedata.category(c) not in _ACTING for c in text
    )


def display_path(path: str) -> str:
    """A file name or path for a record: valid UTF-8 always, harmless in a terminal, cut at 300 characters."""
    return show(path, limit=300)


def _escaped(c: str) -> str:
    return f"\\u{{{ord(c):X}}}"
