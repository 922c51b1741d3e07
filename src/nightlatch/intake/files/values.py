"""Every value of a safetensors file, read in 4 MB pieces: finite, not constant, and within half precision.

Bit patterns are compared as integers: for a float's sign-less bits, larger means larger in magnitude, and
everything from the all-ones exponent upwards is infinite or NaN (IEEE 754, section 3.4).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader
from typing import NamedTuple

from nightlatch.intake.files.header import Header, Tensor
from nightlatch.intake.files.inventory import Entry
from nightlatch.intake.findings import Findings
from nightlatch.safetext import show

CHUNK = 4 << 20
MATRICES_CONSTANT = 0.5


class Format(NamedTuple):
    """``first_bad``: smallest sign-less pattern that is not finite; ``half_limit``: the pattern of 65504, 0
    if none.
    """

    width: int
    first_bad: int
    half_limit: int


FORMATS = {
    "F16": Format(2, 0x7C00, 0), "BF16": Format(2, 0x7F80, 0x477F),
    "F32": Format(4, 0x7F80_0000, 0x477F_E000),
    "F64": Format(8, 0x7FF0_0000_0000_0000, 0x40EF_FC00_0000_0000), "F8_E5M2": Format(1, 0x7C, 0),
    "F8_E4M3": Format(1, 0x7F, 0),
}  # fmt: skip


class Extent(NamedTuple):
    """Largest sign-less bit pattern of a tensor, and whether all its values are the same."""

    largest: int
    constant: bool


class Matrices(NamedTuple):
    """Floating-point matrices of a file (two axes or more), how many of them are constant, and the dtypes of
    tensors not read.
    """

    total: int
    constant: int
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Throughput:
    """How much was read: ``size`` in bytes, ``seconds`` of wall time."""

    files: int
    size: int
    seconds: float

    @property
    def gigabytes_per_second(self) -> float:
        """10^9 bytes per second."""
        return self.size / self.seconds / 1e9 if self.seconds else 0.0


def scan(components: Iterable[tuple[str, list[tuple[Entry, Header]]]], findings: Findings) -> Throughput:
    """Read all values of each component (its name and its files); defects go to ``findings``.

    A component whose matrices are mostly constant is 'degenerate': there is nothing in it that could be
    judged.
    """
    started, files, size = time.perf_counter(), 0, 0
    unread: list[str] = []
    for component, parts in components:
        matrices = constant = 0
        for entry, header in parts:
            found = _scan_file(entry, header, findings)
            matrices += found.total
            constant += found.constant
            unread += found.unread
            files += 1
            size += header.size
        if matrices and constant > MATRICES_CONSTANT * matrices:
            findings.add(
                "degenerate",
                component,
                f"{constant} of the {matrices} weight matrices of '{show(component, 60)}' are constant.",
            )
        elif constant:
            findings.add(
                "constant-tensor", component, f"{constant} of {matrices} weight matrices are constant."
            )
    done = Throughput(files, size, time.perf_counter() - started)
    speed = f"{done.size / 1e9:.3g} GB at {done.gigabytes_per_second:.2g} GB/s"
    findings.add("values-scanned", "", f"{_what(files, unread)}: {speed}.")
    return done


def _what(files: int, unread: list[str]) -> str:
    """What was read, never more than that."""
    if not unread:
        return f"Every value of {files} files was read"
    kinds = ", ".join(sorted(set(unread)))
    return (
        f"The values of {files} files were read, except {len(unread)} tensors of types that are not judged "
        f"({kinds})"
    )


def extent(handle: BufferedReader, at: int, tensor: Tensor, buffer: bytearray) -> Extent:
    """One pass over a tensor whose bytes start at ``at`` in the file; ``buffer`` bounds the memory.

    Read as signed integers the largest positive float wins, read as unsigned the negative one of largest
    magnitude.

    Raises:
        OSError: the file ends early.
    """
    import numpy as np

    form = FORMATS[tensor.dtype]
    unsigned, signed = np.dtype(f"<u{form.width}"), np.dtype(f"<i{form.width}")
    mask = (1 << (8 * form.width - 1)) - 1
    handle.seek(at)
    left, largest, constant, first = tensor.end - tensor.start, 0, True, -1
    view = memoryview(buffer)
    while left:
        piece = view[: min(left, len(buffer))]
        if handle.readinto(piece) != len(piece):
            raise OSError("the file ends early")
        bits = np.frombuffer(piece, unsigned)
        highest = int(bits.max())
        positive = int(bits.view(signed).max()) if highest > mask else highest
        largest = max(largest, positive, highest & mask)
        first = int(bits[0]) if first < 0 else first
        constant = constant and first == highest == int(bits.min())
        left -= len(piece)
    return Extent(largest, constant or largest == 0)


def _scan_file(entry: Entry, header: Header, findings: Findings) -> Matrices:
    """One pass over a file's tensors."""
    matrices = constant = 0
    unread = tuple(t.dtype for t in header.tensors.values() if t.dtype not in FORMATS and t.end > t.start)
    buffer = bytearray(min(CHUNK, max(8, header.size)))
    try:
        with entry.open() as handle:
            for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].start):
                if tensor.dtype not in FORMATS or tensor.end == tensor.start:
                    continue
                seen = extent(handle, header.data_start + tensor.start, tensor, buffer)
                _judge(entry.path, name, tensor.dtype, seen, findings)
                is_matrix = len(tensor.shape) > 1 and tensor.end - tensor.start > FORMATS[tensor.dtype].width
                matrices += is_matrix
                constant += is_matrix and seen.constant
    except OSError:
        findings.add("source-changed", entry.path, "The file became unreadable or shorter while it was read.")
    return Matrices(matrices, constant, unread)


def _judge(path: str, name: str, dtype: str, seen: Extent, findings: Findings) -> None:
    form = FORMATS[dtype]
    if seen.largest >= form.first_bad:
        findings.add("non-finite", path, f"'{show(name, 80)}' holds NaN or infinity.")
    elif form.half_limit and seen.largest > form.half_limit:
        findings.add(
            "range",
            path,
            f"'{show(name, 80)}' holds a value beyond 65504, which half precision turns into infinity.",
        )
