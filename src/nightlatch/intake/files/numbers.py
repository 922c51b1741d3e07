"""The numbers of one small tensor, read without torch: alphas, position ids, noise schedules."""

from __future__ import annotations

import struct
from io import BufferedReader
from math import prod

from nightlatch.intake.files.header import Header, Tensor

FORMATS = {
    "F64": "d", "F32": "f", "F16": "e", "BF16": "f", "I64": "q", "I32": "i", "I16": "h", "I8": "b",
    "U8": "B", "U16": "H", "U32": "I",
    "U64": "Q",
}  # fmt: skip
MOST = 1 << 14
"""Numbers of the largest tensor that is read here."""


def read(handle: BufferedReader, header: Header, tensor: Tensor) -> list[float] | None:
    """All numbers of ``tensor``, NaN and infinity included; None when it is larger than ``MOST`` or of a type
    that holds no plain numbers.

    Raises:
        OSError: the file ends early.
    """
    count = prod(tensor.shape)
    if tensor.dtype not in FORMATS or count > MOST:
        return None
    handle.seek(header.data_start + tensor.start)
    raw = handle.read(tensor.end - tensor.start)
    if len(raw) != tensor.end - tensor.start:
        raise OSError("the file ends early")
    if tensor.dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    return [float(x) for x in struct.unpack(f"<{count}{FORMATS[tensor.dtype]}", raw)]
