"""Where labelled pictures come from: an image folder, a Hugging Face parquet folder or an npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nightlatch.classifier.data import Array, Pictures
from nightlatch.classifier.parquet import from_parquet
from nightlatch.errors import UsageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


def open_data(path: Path | str) -> Pictures:
    """The pictures at ``path``: an npz, a folder with parquet files, or an image folder with one sub-folder a
    class (or none at all).

    Raises:
        UsageError: there is nothing there, or nothing that can be read as labelled pictures.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".npz":
        return from_npz(path)
    if path.is_dir():
        if any(path.rglob("*.parquet")):
            return from_parquet(path)
        return from_folder(path)
    raise UsageError(
        f"There is no data set at {path}.",
        "Give an image folder, a folder of parquet files, or an .npz file.",
    )


def from_folder(path: Path) -> Pictures:
    """One class per sub-folder, in alphabetical order; pictures that lie in ``path`` itself have no label."""
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise UsageError(f"There is no picture under {path}.", f"Known: {', '.join(sorted(SUFFIXES))}.")
    inside = [f.relative_to(path) for f in files]
    classes = tuple(sorted({f.parts[0] for f in inside if len(f.parts) > 1}))
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number[f.parts[0]] if len(f.parts) > 1 else -1 for f in inside], dtype=np.int64)
    return Pictures(tuple(f.as_posix() for f in inside), labels, classes, lambda k: files[k].read_bytes())


def from_npz(path: Path) -> Pictures:
    """Arrays ``x`` or ``images`` (n, h, w, 3) uint8, or ``jpeg`` with ``offset`` (all files end to end);
    ``y``, ``label`` or ``labels``; names as ``class_name``, ``classes`` or ``names``. Nothing pickled is
    read.

    Raises:
        UsageError: no such arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            arrays = {key: opened[key] for key in opened.files}
    except (OSError, ValueError) as e:
        raise UsageError(
            f"{path.name} cannot be read as an npz of plain arrays.", "Write it with numpy.savez."
        ) from e
    images = _named(arrays, "images", "x", "arr_0")
    labels = _named(arrays, "label", "labels", "y", "arr_1")
    offset = arrays.get("offset")
    n = len(offset) - 1 if "jpeg" in arrays and offset is not None else 0 if images is None else len(images)
    if not n or (images is not None and (images.dtype != np.uint8 or images.ndim not in (3, 4))):
        raise UsageError(
            f"{path.name} holds no pictures that are known.",
            "Give 'images' (n, h, w, 3) uint8 and 'labels' (n,).",
        )
    numbers = np.full(n, -1, np.int64) if labels is None else labels.astype(np.int64)
    if len(numbers) != n:
        raise UsageError(
            f"{path.name} holds {n} pictures and {len(numbers)} labels.", "Give one label a picture."
        )
    named = _named(arrays, "class_name", "classes", "names")
    count = max(int(numbers.max()) + 1, 0)
    classes = _class_names(named, numbers, count)

    def read(k: int) -> bytes | Array:
        if images is not None:
            return np.asarray(images[k], dtype=np.uint8)
        assert offset is not None
        return bytes(arrays["jpeg"][int(offset[k]) : int(offset[k + 1])].tobytes())

    return Pictures(tuple(str(k) for k in range(n)), numbers, classes, read)


def _named(arrays: dict[str, npt.NDArray[np.generic]], *names: str) -> npt.NDArray[np.generic] | None:
    return next((arrays[n] for n in names if n in arrays), None)


def _class_names(
    named: npt.NDArray[np.generic] | None, numbers: npt.NDArray[np.int64], count: int
) -> tuple[str, ...]:
    """The names of the classes; given one a picture, each class takes that of its first picture."""
    if named is not None and len(named) == len(numbers) and len(named) > count:
        return tuple(str(named[int(np.argmax(numbers == k))]) for k in range(count))
    if named is not None and len(named) >= count:
        return tuple(str(name) for name in named)
    return tuple(str(k) for k in range(count))
