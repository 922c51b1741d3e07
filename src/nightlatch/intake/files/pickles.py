"""What a pickle names, read as a list of instructions and never run. It can show that a pickle is no plain
set of tensors; it blesses none.
"""

from __future__ import annotations

import pickletools
import zipfile

from nightlatch.intake.files.inventory import Entry
from nightlatch.safetext import show

MAX_BYTES = 4 << 20
MAX_INSTRUCTIONS = 300_000
PLAIN = frozenset({
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    "torch FloatStorage",
    "torch HalfStorage", "torch BFloat16Storage", "torch DoubleStorage", "torch LongStorage",
    "torch IntStorage", "torch ByteStorage",
    "torch BoolStorage", "torch Size",
})  # fmt: skip
"""What torch.save names for a dictionary of tensors."""


def foreign(entry: Entry) -> str:
    """What in the pickle is no part of a dictionary of tensors, in words; '' when nothing is."""
    try:
        with entry.open() as handle:
            if entry.kind != "zip":
                return _foreign(handle.read(MAX_BYTES))
            with zipfile.ZipFile(handle) as archive:
                inner = [i for i in archive.infolist() if i.filename.endswith(".pkl")]
                if len(inner) != 1 or inner[0].file_size > MAX_BYTES:
                    return "its archive holds no single list of tensors"
                with archive.open(inner[0]) as packed:
                    return _foreign(packed.read(MAX_BYTES))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError):
        return "it cannot be read as one"


def _foreign(data: bytes) -> str:
    """The first name that is not ``PLAIN``; names that are put together on the stack are not followed, and so
    are foreign.
    """
    try:
        for n, (op, value, _) in enumerate(pickletools.genops(data)):
            if n > MAX_INSTRUCTIONS:
                return "it holds more instructions than are read"
            if op.name in ("GLOBAL", "INST") and value not in PLAIN:
                return f"it names '{show(str(value), 80)}'"
            if op.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "OBJ"):
                return "it puts names together while it is read"
    except (ValueError, IndexError, KeyError, EOFError):
        return "it cannot be read as one"
    return ""
