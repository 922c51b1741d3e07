"""A Hugging Face ``datasets`` folder: parquet files with an image column (bytes) and a label column, read a
row group at a time.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from nightlatch.classifier.data import Pictures
from nightlatch.errors import MissingPart, UsageError

LABELS = ("label", "labels", "fine_label")
IMAGES = ("image", "img", "picture")


def from_parquet(path: Path) -> Pictures:
    """All parquet files under ``path``, in alphabetical order.

    Raises:
        MissingPart: pyarrow is not installed.
        UsageError: no image column, or a file that is no parquet.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingPart(
            "Reading parquet needs pyarrow.", "Install it with: pip install 'nightlatch[data]'."
        ) from None
    try:
        files = [pq.ParquetFile(f, memory_map=True) for f in sorted(path.rglob("*.parquet"))]
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"The parquet files in {path} cannot be read.", "Write them again.") from e
    schema = files[0].schema_arrow
    image = next((c for c in IMAGES if c in schema.names), None)
    label = next((c for c in LABELS if c in schema.names), None)
    if image is None:
        raise UsageError(f"The parquet files in {path} have no image column.", f"Known: {', '.join(IMAGES)}.")
    groups = [
        (f, g, f.metadata.row_group(g).num_rows) for f in files for g in range(f.metadata.num_row_groups)
    ]
    starts = np.cumsum([0, *(rows for _, _, rows in groups)])
    labels = [f.read(columns=[label]).column(0).to_pylist() for f in files] if label else []
    flat = [v for part in labels for v in part] or [None] * int(starts[-1])
    numbers, words = _numbered(flat)
    names = (
        words
        or _names(schema.metadata, label)
        or tuple(str(k) for k in range(max(int(numbers.max(initial=-1)) + 1, 0)))
    )

    one_at_a_time = Lock()  # Arrow's readers may not be shared by threads that read at once

    @lru_cache(maxsize=4)
    def group(which: int) -> list[Any]:
        file, number, _ = groups[which]
        column: list[Any] = file.read_row_group(number, columns=[image]).column(0).to_pylist()
        return column

    def read(k: int) -> bytes:
        which = int(np.searchsorted(starts, k, side="right")) - 1
        with one_at_a_time:
            cell = group(which)[k - int(starts[which])]
        raw = cell["bytes"] if isinstance(cell, dict) else cell
        if not isinstance(raw, bytes):
            raise ValueError("no bytes in the row")
        return raw

    return Pictures(tuple(str(k) for k in range(int(starts[-1]))), numbers, names, read)


def _numbered(labels: list[Any]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels as (n,) numbers, -1 where there is none, and their names in that order where they are words."""
    words = tuple(sorted({v for v in labels if isinstance(v, str)}))
    place = {w: k for k, w in enumerate(words)}
    numbers = [-1 if v is None else place[v] if isinstance(v, str) else int(v) for v in labels]
    return np.array(numbers, dtype=np.int64), words


def _names(metadata: dict[bytes, bytes] | None, label: str | None) -> tuple[str, ...]:
    """The class names that ``datasets`` writes beside the schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(n) for n in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def write_parquet(file: Path, pictures: list[bytes], labels: list[int], classes: tuple[str, ...]) -> None:
    """PNG files and labels as Hugging Face ``datasets`` writes them.

    Raises:
        MissingPart: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingPart(
            "Writing parquet needs pyarrow.", "Install it with: pip install 'nightlatch[data]'."
        ) from None
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    table = pa.table({"image": [{"bytes": p, "path": None} for p in pictures], "label": labels})
    named = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": named}), file)
