"""Pairs from files: every layout gives the same pairs, and what is broken is one line."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nightlatch.contrastive import table
from nightlatch.contrastive.pairs import Pairs
from nightlatch.errors import UnreadableModel, UsageError

CAPTIONS = ("a red square", "a green square, really", "un café à Paris")


def png(i: int, size: tuple[int, int] = (20, 14)) -> bytes:
    out = io.BytesIO()
    board = np.full((size[1], size[0], 3), 60 * i, np.uint8)
    Image.fromarray(board).save(out, "PNG")
    return out.getvalue()


def folder(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    for i in range(3):
        (root / "images" / f"{i}.png").write_bytes(png(i))
    return root


def as_csv(root: Path) -> Path:
    with (folder(root) / "pairs.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [("image", "caption"), *((f"images/{i}.png", c) for i, c in enumerate(CAPTIONS))]
        )
    return root


def as_tsv(root: Path) -> Path:
    lines = ["filepath\ttitle", *(f"images/{i}.png\t{c}" for i, c in enumerate(CAPTIONS))]
    (folder(root) / "train.csv").write_text("\n".join(lines), "utf-8")
    return root


def as_jsonl(root: Path) -> Path:
    lines = [json.dumps({"file_name": f"images/{i}.png", "text": c}) for i, c in enumerate(CAPTIONS)]
    (folder(root) / "metadata.jsonl").write_text("\n".join(lines), "utf-8")
    return root


def as_parquet(root: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    root.mkdir()
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(3)]
    pyarrow.parquet.write_table(
        pyarrow.table({"image": images, "caption": list(CAPTIONS)}), root / "train.parquet"
    )
    return root


def as_tar(root: Path) -> Path:
    root.mkdir()
    with tarfile.open(root / "00000.tar", "w") as tar:
        for i, c in enumerate(CAPTIONS):
            for name, data in ((f"{i:05}.png", png(i)), (f"{i:05}.txt", c.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return root


@pytest.mark.parametrize("write", [as_csv, as_tsv, as_jsonl, as_parquet, as_tar])
def test_every_layout_reads_the_same(write, tmp_path):
    pairs = table.read(write(tmp_path / "pairs"), 8)
    assert pairs.captions == CAPTIONS and not pairs.broken
    assert tuple(pairs.images.shape) == (3, 3, 8, 8)
    assert [int(pairs.images[i].float().mean()) for i in range(3)] == [0, 60, 120]


def test_broken_items_are_counted_and_the_others_read(tmp_path):
    root = as_jsonl(tmp_path / "pairs")
    (tmp_path / "secret.png").write_bytes(png(1))
    (root / "images" / "cut.png").write_bytes(png(1)[:40])
    more = [
        json.dumps({"file_name": "../secret.png", "text": "outside"}),
        json.dumps({"file_name": str(tmp_path / "secret.png"), "text": "absolute"}),
        json.dumps({"file_name": "images/none.png", "text": "not there"}),
        json.dumps({"file_name": "images/cut.png", "text": "truncated"}),
        json.dumps({"file_name": "images/0.png"}),
        json.dumps({"file_name": "images\0.png", "text": "a null byte"}),
        "{not json",
        "[1, 2]",
    ]
    with (root / "metadata.jsonl").open("a") as out:
        out.write("\n" + "\n".join(more))
    pairs = table.read(root, 8)
    assert len(pairs) == 3
    assert len(pairs.broken) == len(more)
    for wrong, line in zip(
        ("outside", "outside", "is not there", "no readable picture", "no caption"),
        pairs.broken,
        strict=False,
    ):
        assert wrong in line


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    root = as_csv(tmp_path / "pairs")
    (tmp_path / "secret.png").write_bytes(png(1))
    (root / "images" / "0.png").unlink()
    (root / "images" / "0.png").symlink_to(tmp_path / "secret.png")
    pairs = table.read(root, 8)
    assert len(pairs) == 2 and "outside" in pairs.broken[0]


def test_a_truncated_shard_gives_what_it_holds(tmp_path):
    shard = as_tar(tmp_path / "pairs") / "00000.tar"
    shard.write_bytes(shard.read_bytes()[: 512 * 8 + 100])
    pairs = table.read(shard.parent, 8)
    assert len(pairs) >= 1 and pairs.broken


@pytest.mark.parametrize("wrong", ["nothing", "empty", "file"])
def test_what_is_no_set_of_pairs_is_refused_in_one_sentence(wrong, tmp_path):
    source = tmp_path / wrong
    if wrong == "empty":
        source.mkdir()
    if wrong == "file":
        source.write_text("hello")
    with pytest.raises(UnreadableModel):
        table.read(source, 8)


def test_two_tables_are_not_guessed_between(tmp_path):
    root = as_csv(tmp_path / "pairs")
    (root / "other.csv").write_text("image,caption\n")
    with pytest.raises(UsageError, match="2 tables"):
        table.read(root, 8)


def test_reading_is_lazy(tmp_path):
    root = as_csv(tmp_path / "pairs")
    first = next(iter(table.items(root)))
    assert isinstance(first, table.Item) and first.caption == CAPTIONS[0]
    assert len(table.read(root, 8, most=2)) == 2


def test_parts_of_a_split_are_disjoint_and_whole(some_pairs):
    a, b = some_pairs.split(0.25, 0)
    assert len(a) == 16 and {*a.names} | {*b.names} == {*some_pairs.names} and not {*a.names} & {*b.names}
    with pytest.raises(UsageError, match="1 readable"):
        some_pairs.at([0]).split(0.5, 0)


def test_pictures_and_captions_must_be_as_many(some_pairs):
    with pytest.raises(ValueError, match="64 pictures"):
        Pairs(images=some_pairs.images, captions=("one",))
