"""Test helpers: one honest pipeline, built once per session by diffusers itself; everything else is byte and
JSON edits.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUILDER = Path(__file__).parent / "build_honest.py"


def honest_root(base: Path) -> Path:
    """The folder with 'pipeline', 'sharded', 'lora' and 'shapes.json', built on first use."""
    root = base / "honest-pipeline"
    if not (root / "shapes.json").is_file():
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        subprocess.run(
            [sys.executable, str(BUILDER), str(root)], check=True, env=env, capture_output=True, timeout=300
        )
    return root


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Apply ``change`` in place; what it returns, if anything, replaces the whole value."""
    value = json.loads(path.read_text())
    result = change(value)
    path.write_text(json.dumps(value if result is None else result))


def set_keys(path: Path, **keys: Any) -> None:
    """Set top-level keys of a JSON object."""
    edit_json(path, lambda v: v.update(keys))


def load_tensors(path: Path) -> dict[str, Any]:
    """Name to [dtype, shape, bytes]; metadata is dropped."""
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + n])
    head.pop("__metadata__", None)
    body = raw[8 + n :]
    return {k: [v["dtype"], v["shape"], body[slice(*v["data_offsets"])]] for k, v in head.items()}


def spelled(tensors: dict[str, Any], name: str) -> str:
    """The name of a tensor of the text encoder as the installed transformers writes it: older ones put
    'text_model.' before it.
    """
    return name if name in tensors else f"text_model.{name}"


def pack(tensors: dict[str, Any], metadata: Any = None) -> bytes:
    """A safetensors file in memory."""
    head: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    return with_header(json.dumps(head).encode(), body)


def with_header(head: bytes, body: bytes = b"") -> bytes:
    """Length, header, body."""
    return struct.pack("<Q", len(head)) + head + body


def edit_tensors(path: Path, change: Callable[[dict[str, Any]], Any], metadata: Any = None) -> None:
    """Rewrite a safetensors file after ``change`` has edited its tensors."""
    tensors = load_tensors(path)
    change(tensors)
    path.write_bytes(pack(tensors, metadata))


def work(what: Callable[[], Any]) -> int:
    """How many calls of Python and C functions ``what`` makes: a measure of work that a busy machine does not
    change.
    """
    count = 0

    def seen(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        what()
    finally:
        sys.setprofile(None)
    return count
