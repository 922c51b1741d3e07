"""Pairs from files: a folder with a csv, jsonl or parquet table, or webdataset tar shards. Read one item at a
time.

An item that cannot be read becomes a line that says why; it never stops the others. Nothing is unpacked to
the disk, and no path of a table is followed out of its folder.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image

from nightlatch.contrastive.pairs import Pairs
from nightlatch.errors import MissingPart, UnreadableModel, UsageError

PICTURE_COLUMNS = ("file_name", "filepath", "image_path", "image", "path", "file")
CAPTION_COLUMNS = ("caption", "text", "title", "txt", "additional_feature")
"""Column names, first that is there: Hugging Face's image folders, OpenCLIP's csv, img2dataset and CC3M's
tables.
"""
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
CAPTIONS = (".txt", ".caption")
MOST_BYTES = 64 << 20
"""A picture file or tar member above this is not read: the largest camera pictures take half of it."""
MOST_PIXELS = 100_000_000
"""A picture that would decode to more is not decoded (100 megapixels; Pillow's own bomb warning starts at
89).
"""


class Broken(Exception):
    """One item cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """One pair as it lies in its source: ``data`` is the picture file's content."""

    name: str
    caption: str
    data: bytes


def items(source: Path) -> Iterator[Item | str]:
    """Every pair of ``source``, lazily; a string in place of one that cannot be read says why.

    Args:
        source: a folder with one table (its paths lie inside the folder), a table itself, a .tar shard, or a
            folder of shards.

    Raises:
        UnreadableModel: nothing of the kind is there.
        MissingPart: a parquet table, and pyarrow is not installed.
    """
    if source.is_dir():
        tables = sorted(p for p in source.iterdir() if p.suffix.lower() in TABLES)
        shards = sorted(source.glob("*.tar"))
        if len(tables) > 1:
            raise UsageError(
                f"{source} holds {len(tables)} tables.", f"Name one of them: {tables[0].name}, for example."
            )
        if not tables and not shards:
            raise UnreadableModel(
                f"{source} holds no table of pairs.",
                "It needs a csv, jsonl or parquet table, or .tar shards.",
            )
        for shard in shards if not tables else ():
            yield from _shard(shard)
        for table in tables:
            yield from _table(table)
    elif source.suffix.lower() == ".tar" and source.is_file():
        yield from _shard(source)
    elif source.suffix.lower() in TABLES and source.is_file():
        yield from _table(source)
    else:
        raise UnreadableModel(
            f"{source} is no set of pairs.", "Give a folder with a table, a table, or a .tar shard."
        )


def read(source: Path, size: int, most: int | None = None) -> Pairs:
    """All pairs (or the first ``most`` readable ones) with pictures scaled to a ``size`` x ``size`` square,
    as ``picture`` does it.

    Raises:
        UnreadableModel, MissingPart, UsageError: as ``items`` does, or not one pair is readable.
    """
    images: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    captions: list[str] = []
    names: list[str] = []
    broken: list[str] = []
    for item in items(source):
        if most is not None and len(images) >= most:
            break
        try:
            if isinstance(item, str):
                raise Broken(item)
            images.append(picture(item.data, size))
        except Broken as e:
            broken.append(str(e) if isinstance(item, str) else f"{item.name}: {e}")
            continue
        captions.append(item.caption)
        names.append(item.name)
    if not images:
        raise UnreadableModel(
            f"Not one pair of {source} can be read: {(broken or ['it is empty'])[0]}",
            "Check the table's paths.",
        )
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Pairs(images=stacked, captions=tuple(captions), names=tuple(names), broken=tuple(broken))


def picture(data: bytes, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A decoded picture: shorter side scaled to ``size``, centre cut out, RGB on white, (size, size, 3)
    uint8.

    Raises:
        Broken: it is no picture, truncated, or far too large.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise Broken(f"it would decode to {opened.width} x {opened.height}")
            opened.draft("RGB", (size, size))
            flat = (
                opened.convert("RGBA") if opened.mode in ("RGBA", "LA", "P", "PA") else opened.convert("RGB")
            )
    except Broken:
        raise
    except Exception as e:  # a decoder of strangers' bytes may fail in any way; each is one broken item
        raise Broken(f"it is no readable picture ({type(e).__name__})") from e
    if flat.mode == "RGBA":
        board = Image.new("RGBA", flat.size, "white")
        board.alpha_composite(flat)
        flat = board.convert("RGB")
    side = min(flat.size)
    left, top = (flat.width - side) // 2, (flat.height - side) // 2
    square = flat.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.asarray(square)


def _table(path: Path) -> Iterator[Item | str]:
    root = path.parent.resolve()
    for number, row in enumerate(_rows(path), start=1):
        try:
            if isinstance(row, str):
                raise Broken(row)
            caption = _first(row, CAPTION_COLUMNS)
            if not isinstance(caption, str) or not caption.strip():
                raise Broken("it has no caption")
            where = _first(row, PICTURE_COLUMNS)
            if isinstance(where, Mapping):  # a Hugging Face image cell: bytes, or a path
                where = where.get("bytes") or where.get("path")
            name, data = (
                (f"row {number}", where) if isinstance(where, bytes) else (str(where), _file(root, where))
            )
            yield Item(name, caption.strip(), data)
        except Broken as e:
            yield f"row {number} of {path.name}: {e}"


def _file(root: Path, where: object) -> bytes:
    """The content of a picture file inside ``root``."""
    if not isinstance(where, str) or not where:
        raise Broken("it names no picture")
    if "\0" in where or PurePosixPath(where).is_absolute() or Path(where).is_absolute():
        raise Broken("its picture lies outside the folder")
    path = (root / where).resolve()
    if not path.is_relative_to(root):
        raise Broken("its picture lies outside the folder")
    try:
        if not path.is_file():
            raise Broken(f"{where} is not there")
        if path.stat().st_size > MOST_BYTES:
            raise Broken(f"{where} is larger than {MOST_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as e:
        raise Broken(f"{where} cannot be read ({e.strerror})") from e


def _rows(path: Path) -> Iterator[Mapping[str, Any] | str]:
    """Rows of a table as mappings; a string says why one is none.

    Raises:
        UnreadableModel: the table as a whole is not what its name says.
    """
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet(path)
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from (_line(line) for line in lines if line.strip())
        else:
            with path.open(encoding="utf-8", errors="replace", newline="") as lines:
                first = lines.readline()
                lines.seek(0)
                tabs = path.suffix.lower() == ".tsv" or first.count("\t") > first.count(",")
                yield from csv.DictReader(lines, delimiter="\t" if tabs else ",")
    except (OSError, csv.Error) as e:
        raise UnreadableModel(
            f"{path} cannot be read as a table: {e}", "It must be a csv, jsonl or parquet file."
        ) from e


def _line(line: str) -> Mapping[str, Any] | str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "it is no JSON"
    return value if isinstance(value, Mapping) else "it is no JSON object"


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as e:
        raise MissingPart(
            "pyarrow is not installed, and the table is parquet.", "pip install 'nightlatch[data]'"
        ) from e
    try:
        file = parquet.ParquetFile(path)
        wanted = [c for c in (*PICTURE_COLUMNS, *CAPTION_COLUMNS) if c in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=256, columns=wanted):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as e:
        raise UnreadableModel(f"{path} is no readable parquet table.", "Write it again.") from e


def _first(row: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    lower = {str(k).strip().lower(): v for k, v in row.items() if k is not None}
    return next((lower[c] for c in columns if lower.get(c) not in (None, "")), None)


def _shard(path: Path) -> Iterator[Item | str]:
    """webdataset's rule: members with one stem, next to each other, are one sample."""
    try:
        with tarfile.open(path, "r|") as tar:
            stem, data, caption = "", b"", ""
            for member in tar:
                base, _, ending = member.name.rpartition("/")[2].partition(".")
                if not member.isfile():
                    continue
                here = f"{member.name.rpartition('/')[0]}/{base}"
                if here != stem:
                    if stem:
                        yield _sample(path, stem, data, caption)
                    stem, data, caption = here, b"", ""
                ending = f".{ending.lower()}"
                if ending not in (*PICTURES, *CAPTIONS, ".json") or member.size > MOST_BYTES:
                    continue
                handle = tar.extractfile(member)
                content = handle.read() if handle else b""
                if ending in PICTURES:
                    data = content
                elif ending in CAPTIONS:
                    caption = content.decode("utf-8", "replace").strip()
                elif not caption:
                    row = _line(content.decode("utf-8", "replace"))
                    caption = (
                        str(_first(row, CAPTION_COLUMNS) or "").strip() if isinstance(row, Mapping) else ""
                    )
            if stem:
                yield _sample(path, stem, data, caption)
            if (
                path.stat().st_size - tar.offset < tarfile.BLOCKSIZE
            ):  # a whole archive ends with an empty block
                yield f"{path.name}: it ends early, and what followed is lost"
    except (tarfile.TarError, OSError, EOFError) as e:
        yield f"{path.name}: the rest of the shard cannot be read ({type(e).__name__})"


def _sample(path: Path, stem: str, data: bytes, caption: str) -> Item | str:
    name = f"{path.name}:{stem.lstrip('/')}"
    if not data or not caption:
        return f"{name}: it has no {'caption' if data else 'picture'}"
    return Item(name, caption, data)
