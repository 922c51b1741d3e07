"""Pictures from a folder, from parquet and from an npz are the same; one that is broken is one line, not the
end.
"""

from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from nightlatch.classifier.parquet import write_parquet
from nightlatch.classifier.sources import from_npz, open_data
from nightlatch.errors import UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([1, 0, 1, 2, 0, 2])


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png")
    return out.getvalue()


def folder(path):
    for k, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (path / "abc"[label]).mkdir(exist_ok=True)
        (path / "abc"[label] / f"{k}.png").write_bytes(png(image))


def test_an_image_folder_has_a_class_per_sub_folder(tmp_path):
    folder(tmp_path)
    data, numbers, broken = open_data(tmp_path).load()
    assert data.classes == ("a", "b", "c")
    assert not broken
    assert numbers == tuple(range(6))
    first = np.flatnonzero(LABELS == 0)[0]
    np.testing.assert_array_equal(data.pictures[0].permute(1, 2, 0).numpy(), IMAGES[first])
    assert data.labels.tolist() == sorted(LABELS.tolist())


def test_a_broken_picture_is_counted_and_the_rest_is_read(tmp_path):
    folder(tmp_path)
    (tmp_path / "a" / "broken.png").write_bytes(png(IMAGES[0])[:50])
    (tmp_path / "b" / "empty.jpg").write_bytes(b"")
    pictures = open_data(tmp_path)
    data, numbers, broken = pictures.load()
    assert (len(data), len(numbers), len(pictures)) == (6, 6, 8)
    assert sorted(b.split()[0] for b in broken) == ["a/broken.png", "b/empty.jpg"]
    assert sum(len(sentences) for _, _, sentences in pictures.batches((8, 8), 3)) == 2


def test_parquet_of_hugging_face_is_read_with_its_names(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "label": {"names": ["x", "y", "z"], "_type": "ClassLabel"},
            }
        }
    }
    table = pa.table({"image": [{"bytes": png(i), "path": None} for i in IMAGES], "label": LABELS})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(features)}),
        tmp_path / "a.parquet",
        row_group_size=4,
    )
    data, _, broken = open_data(tmp_path).load()
    assert data.classes == ("x", "y", "z")
    assert not broken
    np.testing.assert_array_equal(data.pictures.permute(0, 2, 3, 1).numpy(), IMAGES)
    assert data.labels.tolist() == LABELS.tolist()


def test_one_thread_at_a_time_reads_a_parquet_file(tmp_path, monkeypatch):
    """Arrow's reader crashes the process when two threads are inside it."""
    import pyarrow.parquet as pq

    inside, most = [], []

    class Watched(pq.ParquetFile):
        def read_row_group(self, *a, **k):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            return super().read_row_group(*a, **k)

    monkeypatch.setattr(pq, "ParquetFile", Watched)
    write_parquet(tmp_path / "a.parquet", [png(i) for i in IMAGES] * 100, [0] * 100 * len(IMAGES), ("x",))
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=16)
    data, _, _ = open_data(tmp_path).load(threads=8)
    assert len(data) == 100 * len(IMAGES)
    assert len(most) > 8 and max(most) == 1


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_one_sentence(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        open_data(tmp_path)


def test_parquet_labels_may_be_words(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = ["dog", "ant", None, "cat", "ant", "dog"]
    pq.write_table(pa.table({"image": [png(i) for i in IMAGES], "label": words}), tmp_path / "a.parquet")
    data, _, _ = open_data(tmp_path).load()
    assert data.classes == ("ant", "cat", "dog")
    assert data.labels.tolist() == [2, 0, -1, 1, 0, 2]


def test_parquet_without_pictures_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="no image column"):
        open_data(tmp_path)


def test_an_npz_holds_arrays_or_files_end_to_end(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    files = [png(i) for i in IMAGES]
    np.savez(
        tmp_path / "b.npz",
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offset=np.cumsum([0, *map(len, files)]),
        label=LABELS,
        class_name=np.array(["abc"[k] for k in LABELS]),
    )
    first, second = (open_data(tmp_path / f).load()[0] for f in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(first.pictures.numpy(), second.pictures.numpy())
    assert (first.classes, second.classes) == (("0", "1", "2"), ("a", "b", "c"))


def test_pictures_are_resized_and_split_apart(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    data = open_data(tmp_path / "a.npz").load((4, 6))[0]
    assert data.pictures.shape == (6, 3, 4, 6)
    parts = data.parts(2, 3)
    assert [len(p) for p in parts] == [2, 3, 1]
    assert sorted(k for p in parts for k in p.labels.tolist()) == sorted(LABELS.tolist())


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no data set"):
        open_data(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no picture under"):
        open_data(tmp_path)
    np.savez(tmp_path / "bad.npz", images=IMAGES.astype(np.float32))
    with pytest.raises(UsageError, match="no pictures that are known"):
        from_npz(tmp_path / "bad.npz")
    np.savez(tmp_path / "pickled.npz", images=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match="plain arrays"):
        from_npz(tmp_path / "pickled.npz")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="None of the pictures"):
        open_data(tmp_path / "one").load()
