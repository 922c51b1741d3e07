"""A strict safetensors header reader of our own: no torch, no trust, bounded in size, depth and count.

Layout: 8 bytes little-endian header length n, n bytes JSON, then the tensors' bytes without gap or overlap.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from nightlatch.intake.files import jsonread
from nightlatch.safetext import show

MAX_HEADER = 8 << 20
MAX_TENSORS = 50_000
MAX_AXES = 16
MAX_NAME = 512

BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class HeaderProblem(Exception):
    """Why a file is not accepted as safetensors: a rule id of this package and a sentence."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule, self.sentence = rule, sentence


class Tensor(NamedTuple):
    """One entry; ``start`` and ``end`` are bytes counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file declares, after every check. ``size`` is the whole file's, in bytes."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    data_start: int
    size: int


def read(handle: BinaryIO, size: int) -> Header:
    """The header of the open file ``handle`` of ``size`` bytes; reads at most 8 MB.

    Raises:
        HeaderProblem: the first defect found, by name.
        OSError: the file cannot be read.
    """
    length = declared_length(handle.read(8), size)
    if length > MAX_HEADER:
        raise _too_long(handle, length)
    return parse(handle.read(length), size)


def declared_length(first: bytes, size: int) -> int:
    """Header length in bytes as the first 8 bytes declare it, checked against the file's ``size``.

    Raises:
        HeaderProblem: the file is too short for it.
    """
    if len(first) < 8:
        raise HeaderProblem("header", f"It is {size} bytes long, too short to be safetensors.")
    length: int = struct.unpack("<Q", first)[0]
    if length > size - 8:
        raise HeaderProblem(
            "header", f"It declares a header of {length:,} bytes and is itself {size:,} bytes long."
        )
    return length


def parse(raw: bytes, size: int) -> Header:
    """The header from its JSON bytes, for a file of ``size`` bytes in all.

    Raises:
        HeaderProblem: the first defect found, by name.
    """
    table = _table(raw)
    metadata = _metadata(table.pop("__metadata__", {}))
    if len(table) > MAX_TENSORS:
        raise HeaderProblem(
            "tensor-count", f"It holds {len(table):,} tensors; at most {MAX_TENSORS:,} are read."
        )
    tensors = _tensors(table)
    _check_layout(tensors, size - 8 - len(raw))
    return Header(tensors, metadata, 8 + len(raw), size)


def _too_long(handle: BinaryIO, length: int) -> HeaderProblem:
    """Say which of the two: a header of very many tensors, or one that is merely long."""
    if handle.read(MAX_HEADER).count(b'"dtype"') > MAX_TENSORS:
        return HeaderProblem(
            "tensor-count", f"It holds more than {MAX_TENSORS:,} tensors, which is more than are read."
        )
    return HeaderProblem(
        "header-size", f"Its header is {length:,} bytes long; at most {MAX_HEADER:,} are read."
    )


def _table(raw: bytes) -> dict[str, jsonread.Json]:
    if raw[:1] != b"{":
        raise HeaderProblem("header", "Its header does not start with '{'.")
    if raw.count(b"{") > MAX_TENSORS + 2:
        raise HeaderProblem("tensor-count", f"Its header holds more than {MAX_TENSORS:,} objects.")
    try:
        table = jsonread.parse(raw, max_bytes=MAX_HEADER, max_depth=None, max_nodes=12 * MAX_TENSORS)
    except jsonread.JsonProblem as e:
        rule = {"duplicate-key": "duplicate-key", "count": "tensor-count"}.get(e.code, "header")
        raise HeaderProblem(rule, f"Its header is refused. {e.sentence}") from None
    if not isinstance(table, dict):
        raise HeaderProblem("header", "Its header is not a JSON object.")
    return table


def _metadata(value: jsonread.Json) -> dict[str, str]:
    if not isinstance(value, dict):
        raise HeaderProblem("metadata", "Its metadata is not an object.")
    texts = {k: v for k, v in value.items() if isinstance(v, str)}
    if len(texts) != len(value):
        raise HeaderProblem("metadata", "Its metadata holds a value that is not text.")
    return texts


def _tensors(table: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every entry checked; written for speed, so that a defect is only explained once one is seen."""
    made: dict[str, Tensor] = {}
    for name, entry in table.items():
        try:
            dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            bits = BITS[dtype]
            if type(shape) is not list or len(shape) > MAX_AXES or len(entry) != 3 or len(name) > MAX_NAME:
                raise _defect(name, entry)
            for n in shape:
                if type(n) is not int or n < 0:
                    raise _defect(name, entry)
                bits *= n
            if type(start) is not int or type(end) is not int or start < 0 or bits != 8 * (end - start):
                raise _defect(name, entry)
        except (KeyError, TypeError, ValueError):
            raise _defect(name, entry) from None
        made[name] = Tensor(dtype, tuple(shape), start, end)
    return made


def _defect(name: str, entry: Any) -> HeaderProblem:
    """What is wrong with an entry."""
    who = f"'{show(name, 80)}'"
    if len(name) > MAX_NAME:
        return HeaderProblem("header", f"The name {who} is longer than {MAX_NAME} characters.")
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return HeaderProblem("header", f"The entry of {who} is not a dtype, a shape and two offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in BITS:
        return HeaderProblem("unknown-dtype", f"{who} has the unknown dtype '{show(str(dtype), 40)}'.")
    if type(shape) is not list or any(type(n) is not int or n < 0 for n in shape):
        return HeaderProblem("shape", f"The shape of {who} holds something that is not a count.")
    if type(offsets) is not list or len(offsets) != 2 or any(type(n) is not int for n in offsets):
        return HeaderProblem("offsets", f"The offsets of {who} are not two counts.")
    if not 0 <= offsets[0] <= offsets[1]:
        return HeaderProblem("offsets", f"The offsets of {who} do not ascend from zero.")
    return HeaderProblem("shape", f"The shape of {who} does not fit the bytes that it claims.")


def _check_layout(tensors: Mapping[str, Tensor], available: int) -> None:
    """The tensors must cover the ``available`` bytes behind the header once, without gap, overlap or rest."""
    at = 0
    for start, end, name in sorted((t.start, t.end, name) for name, t in tensors.items()):
        if start != at:
            word = "overlaps" if start < at else "leaves a gap behind"
            raise HeaderProblem("offsets", f"'{show(name, 80)}' {word} the tensor before it.")
        at = end
    if at > available:
        raise HeaderProblem("header", f"It is cut: {at - available:,} bytes of tensors are missing.")
    if at < available:
        raise HeaderProblem("offsets", f"{available - at:,} bytes follow the last tensor and belong to none.")
