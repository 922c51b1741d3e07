"""Rebuild a data set from variations: same form, same names, same labels; what is made already is not made
again.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nightlatch.classifier.data import Pictures
from nightlatch.classifier.vary.base import Variation
from nightlatch.errors import UsageError
from nightlatch.folder import write_whole
from nightlatch.records import Part, Record
from nightlatch.registry import part_of

Say = Callable[[str], None]
RECORD = "variation.json"
BATCH = 256


class Rebuilt(Record):
    """How a data set was rebuilt; ``variation.json`` beside it."""

    variation: Part
    generator: str
    pictures: int
    broken: tuple[str, ...]
    size: tuple[int, int]
    seed: int


def rebuild(
    source: Path,
    pictures: Pictures,
    variation: Variation,
    out: Path,
    size: tuple[int, int],
    say: Say,
    generator: str = "",
    seed: int = 0,
) -> Rebuilt:
    """Write a variation of every readable picture into ``out``: an image folder for an image folder, an npz for
    an npz, parquet for parquet.

    Batches are kept in ``out``.parts until all are there, so that an interrupted run goes on; the same seed
    gives the same pictures.

    Raises:
        UsageError: ``out`` is there already, or ``out``.parts is of another rebuild.
    """
    if out.exists():
        raise UsageError(f"{out} is there already.", "Choose another place; nothing is overwritten.")
    parts = out.with_name(out.name + ".parts")
    identity = Rebuilt(
        variation=identity_of(variation),
        generator=generator,
        pictures=len(pictures),
        broken=(),
        size=size,
        seed=seed,
    )
    _same(parts, identity)
    broken: list[str] = []
    for number, (rows, made, sentences) in enumerate(pictures.batches(size, BATCH)):
        broken += sentences
        file = parts / f"{number:06d}.npz"
        if rows and not file.is_file():
            varied = variation(made, seed * 1_000_003 + number)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, rows=np.array(rows), images=varied.permute(0, 2, 3, 1).cpu().numpy())
            write_whole(file, buffer.getvalue())
        say(f"varied {min((number + 1) * BATCH, len(pictures))} of {len(pictures)}")
    record = identity.model_copy(update={"broken": tuple(broken)})
    _assemble(source, pictures, parts, out, record)
    shutil.rmtree(parts)
    return record


def identity_of(variation: Variation) -> Part:
    """What ``variation`` is, by its numbers: the same in every process, whatever model it holds."""
    plain = {
        f.name
        for f in dataclasses.fields(variation)
        if isinstance(getattr(variation, f.name), bool | int | float | str)
    }
    part = part_of(variation)
    return part.model_copy(update={"parameters": {k: v for k, v in part.parameters.items() if k in plain}})


def _same(parts: Path, identity: Rebuilt) -> None:
    """``parts`` is this rebuild's, or new."""
    record = parts / RECORD
    if record.is_file():
        if record.read_text("utf-8") != identity.model_dump_json():
            raise UsageError(
                f"{parts} holds the beginning of another rebuild.", "Delete it, or choose another place."
            )
        return
    parts.mkdir(parents=True, exist_ok=True)
    write_whole(record, identity.model_dump_json())


def _pieces(parts: Path) -> Iterator[tuple[int, np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]]]:
    """(row number, picture) of all that was made, in order."""
    for file in sorted(parts.glob("*.npz")):
        with np.load(file, allow_pickle=False) as opened:
            yield from zip(opened["rows"].tolist(), opened["images"], strict=True)


def _assemble(source: Path, pictures: Pictures, parts: Path, out: Path, record: Rebuilt) -> None:
    scratch = out.with_name(f".{out.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    if source.is_file():
        rows, images = zip(*_pieces(parts), strict=True)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            images=np.stack(images),
            labels=pictures.labels[list(rows)],
            names=np.array(pictures.classes, dtype=np.str_),
        )
        write_whole(out, buffer.getvalue())
        write_whole(out.with_suffix(".json"), record.model_dump_json(indent=1) + "\n")
        return
    scratch.mkdir(parents=True)
    if any(source.rglob("*.parquet")):
        from nightlatch.classifier.parquet import write_parquet

        kept = list(_pieces(parts))
        write_parquet(
            scratch / "train.parquet",
            [png(i) for _, i in kept],
            [int(pictures.labels[k]) for k, _ in kept],
            pictures.classes,
        )
    else:
        for k, image in _pieces(parts):
            file = (scratch / pictures.names[k]).with_suffix(".png")
            if file.exists():  # a.jpg and a.png of one folder
                file = file.with_name(f"{file.stem}-{k}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(image))
    (scratch / RECORD).write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    scratch.rename(out)


def png(image: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> bytes:
    """A picture (h, w, 3) uint8 as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png")
    return out.getvalue()


def png_of(picture: torch.Tensor) -> bytes:
    """A picture (3, h, w) in 0..1 as a PNG file."""
    return png((picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
