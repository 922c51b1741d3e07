"""What a file is, by its first bytes; the name only decides where the bytes leave it open."""

from __future__ import annotations

import re
import struct

HEAD = 512

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "lfs-pointer"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x89PNG\r\n", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"), (b"\x89HDF\r\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"\x93NUMPY", "numpy"), (b"\x7fELF", "program"), (b"MZ", "program"), (b"\xcf\xfa\xed\xfe", "program"),
    (b"\xca\xfe\xba\xbe", "program"), (b"#!", "script"), (b"\x00\x05\x16\x07", "apple-double"),
)  # fmt: skip
ARCHIVES = frozenset({"zip", "7z", "gzip", "bzip2", "xz", "zstd", "rar", "tar"})
NOT_FILES = frozenset({"folder", "link", "fifo", "socket", "device", "special"})
PICKLE_NAMES = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".t7", ".pk", ".pt2", ".ptl",
    ".torch", ".sav", ".mar",
)  # fmt: skip
CODE_NAMES = (
    ".py", ".pyw", ".pyc", ".pyd", ".pyx", ".pyz", ".so", ".dll", ".dylib", ".exe", ".com", ".scr", ".msi",
    ".sh", ".bash", ".zsh",
    ".bat", ".cmd", ".ps1", ".psm1", ".vbs", ".vbe", ".wsf", ".hta", ".js", ".mjs", ".cjs", ".jse", ".jar",
    ".lnk", ".url", ".reg",
    ".desktop", ".command", ".scpt", ".appimage", ".ipynb", ".whl",
)  # fmt: skip
OTHER_WEIGHTS = (
    ".onnx", ".msgpack", ".h5", ".gguf", ".onnx_data", ".tflite", ".xml", ".npz", ".npy", ".mlpackage",
    ".mlmodel", ".engine", ".plan",
    ".trt", ".pb",
)  # fmt: skip
_OTHERS_BIN = re.compile(r"(?:^|/)openvino_[a-z0-9_]{1,60}\.bin$|\.ml(?:package|modelc)/|com\.apple\.coreml/")
"""No loader of PyTorch weights asks for such a name."""
_GLOBAL = re.compile(rb"\A\(*c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")


def classify(path: str, head: bytes, size: int) -> str:
    """The kind of the file ``path`` of ``size`` bytes that starts with ``head`` (up to 512 bytes).

    One of: empty, safetensors, json, text, python, script, program, pickle, zip, 7z, gzip, bzip2, xz, zstd,
    rar, tar, lfs-pointer, image, hdf5, gguf, numpy, apple-double, binary.
    """
    name = path.lower()
    if not head:
        return "empty"
    if _is_safetensors(head, size):
        return "safetensors"
    if (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or _GLOBAL.match(head):
        return "pickle"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind if kind != "numpy" or _is_plain_array(head) else "pickle"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image"
    return _text_kind(name, head)


def is_weights_name(name: str) -> bool:
    """Whether a loader would take the name for PyTorch weights that are not safetensors."""
    return name.lower().endswith(PICKLE_NAMES)


def is_pickle(name: str, kind: str) -> bool:
    """Whether a loader might unpickle the file: by its content, or by its name whatever it begins with (a
    pickle may begin as a GIF).

    Names that only other programs give to plain numbers (OpenVINO's, Core ML's) are no pickle's.
    """
    named = is_weights_name(name) and not _OTHERS_BIN.search(name.lower())
    return kind == "pickle" or (
        named and kind not in ("lfs-pointer", "apple-double") and kind not in NOT_FILES
    )


def is_apple_double(name: str, kind: str) -> bool:
    """Whether macOS left the file beside the one of the same name without '._'."""
    return kind == "apple-double" and name.startswith("._")


def is_code(name: str, kind: str) -> bool:
    """Whether the file is something that a machine would run."""
    return kind in ("python", "script", "program") or name.lower().endswith(CODE_NAMES)


def is_other_weights(name: str, kind: str) -> bool:
    """Whether the file is weights of another framework."""
    return kind in ("hdf5", "gguf", "numpy") or name.lower().endswith(OTHER_WEIGHTS)


def _is_safetensors(head: bytes, size: int) -> bool:
    """A header length below 4 GiB that the file can hold, then '{'; no other magic number agrees with
    both.
    """
    return (
        len(head) > 8
        and head[8:9] == b"{"
        and 2 <= struct.unpack("<Q", head[:8])[0] <= min(size - 8, 1 << 32)
    )


def _is_plain_array(head: bytes) -> bool:
    """Whether a NumPy file's header, seen whole, names no Python objects, which NumPy would unpickle."""
    start = 10 if head[6:7] == b"\x01" else 12
    header = head[start : start + int.from_bytes(head[8:start], "little")]
    whole = len(header) == int.from_bytes(head[8:start], "little")
    return whole and not any(mark in header for mark in (b"O", b"object", b"\\"))


def _text_kind(name: str, head: bytes) -> str:
    if b"\x00" in head:
        return "binary"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as e:
        if e.start < len(head) - 3 or len(head) < HEAD:
            return "binary"
    if name.endswith((".py", ".pyx")):
        return "python"
    return "json" if head.lstrip()[:1] in (b"{", b"[") else "text"
