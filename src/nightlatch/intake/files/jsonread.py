"""A JSON reader for files that somebody else wrote: bounded, strict, and silent about their content."""

from __future__ import annotations

import json
import math
import re
from itertools import chain
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 500_000
MAX_DIGITS = 64

_CONTAINERS = frozenset({dict, list})
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonProblem(Exception):
    """Why a text is not accepted as JSON.

    Args:
        code: 'size', 'utf8', 'depth', 'count', 'syntax', 'duplicate-key' or 'not-finite'.
        sentence: says where, never quotes the text.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


def parse(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int | None = MAX_DEPTH,
    max_nodes: int = MAX_NODES,
    infinite: bool = False,
) -> Json:
    """The value that ``data`` holds.

    Stricter than the standard library: no byte-order mark, no NaN or infinity (also not by overflow), no key
    twice in one object, no lone surrogate, no fraction longer than 64 digits, bounded depth and number of
    values. ``max_depth`` None leaves the depth to the caller, who then checks the structure itself.
    ``infinite``: -Infinity is a number, as Python's own writer has it.

    Raises:
        JsonProblem: the first defect found.
    """
    if len(data) > max_bytes:
        raise JsonProblem("size", f"It is {len(data):,} bytes long; at most {max_bytes:,} are read.")
    nodes = sum(data.count(mark) for mark in (b",", b":", b"[", b"{"))
    if nodes > max_nodes:
        raise JsonProblem("count", f"It holds more than {max_nodes:,} values.")
    text = _decode(data)
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant if not infinite else _infinity,
            parse_float=_float,
        )
    except RecursionError:
        raise JsonProblem("depth", "It is nested too deep to be read.") from None
    except json.JSONDecodeError as e:
        raise JsonProblem(
            "syntax", f"It is not JSON: the error is in line {e.lineno}, column {e.colno}."
        ) from None
    except ValueError:
        raise JsonProblem("not-finite", "It holds a whole number of thousands of digits.") from None
    if max_depth is not None and deeper_than(value, max_depth):
        raise JsonProblem("depth", f"It is nested more than {max_depth} levels deep.")
    if b"\\u" in data and _SURROGATE_ESCAPE.search(data):
        _refuse_lone_surrogates(value)
    return value


def deeper_than(value: Json, limit: int) -> bool:
    """Whether containers are nested more than ``limit`` levels deep; walks level by level, without
    recursion.
    """
    level: list[Any] = [[value]]
    for _ in range(limit + 1):
        children = (v.values() if type(v) is dict else v for v in level)
        level = [
            c
            for v in children
            if not _CONTAINERS.isdisjoint(map(type, v))
            for c in v
            if type(c) in _CONTAINERS
        ]
        if not level:
            return False
    return True


def _decode(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise JsonProblem("utf8", "It starts with a byte-order mark.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise JsonProblem("utf8", f"It is not UTF-8: byte {e.start} does not decode.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise JsonProblem(
            "duplicate-key",
            "An object names the same key twice, so two readers may see two different values.",
        )
    return made


def _constant(_: str) -> float:
    raise JsonProblem("not-finite", "It holds NaN or Infinity where a number belongs.")


def _infinity(name: str) -> float:
    return -math.inf if name == "-Infinity" else _constant(name)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise JsonProblem(
            "not-finite", f"It holds a number that is too large or longer than {MAX_DIGITS} digits."
        )
    return value


def _refuse_lone_surrogates(value: Json) -> None:
    """Walks level by level and copies no text, whatever its size."""
    level: list[Any] = [value]
    while level:
        keys = (k for v in level if type(v) is dict for k in v)
        if any(_SURROGATE.search(text) for text in chain(keys, (v for v in level if type(v) is str))):
            raise JsonProblem("utf8", "It holds half of a surrogate pair, which is not a character.")
        level = [c for v in level if type(v) in _CONTAINERS for c in (v.values() if type(v) is dict else v)]
