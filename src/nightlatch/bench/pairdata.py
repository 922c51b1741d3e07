"""Class pictures of the experiment on image-text models, made small: the packed data sets at another size.

python -m nightlatch.bench.pairdata DATA OUT [--size 48] [--most 7000]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

FILES = ("cifar10_test.npz", "pacs64.npz", "tiny_imagenet20.npz")


def shrunk(source: Path, target: Path, size: int, most: int, quality: int = 90) -> int:
    """The same arrays with at most ``most`` pictures, drawn at random, at ``size`` as JPEG; returns how many.
    Pictures that are smaller stay as they are.
    """
    with np.load(source) as z:
        held = {k: z[k] for k in z.files}
    rows = np.sort(np.random.default_rng(5).permutation(len(held["label"]))[:most])
    start = held["offset"]
    files = [_shrunk(held["jpeg"][start[i] : start[i + 1]].tobytes(), size, quality) for i in rows]
    held["jpeg"] = np.frombuffer(b"".join(files), np.uint8)
    held["offset"] = np.concatenate([[0], np.cumsum([len(f) for f in files])])
    count = len(start) - 1
    per_picture = [k for k, v in held.items() if k not in ("jpeg", "offset") and v.ndim and len(v) == count]
    np.savez_compressed(target, **{k: v[rows] if k in per_picture else v for k, v in held.items()})
    return len(rows)


def _shrunk(data: bytes, size: int, quality: int) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if max(picture.size) <= size:
        return data
    out = io.BytesIO()
    picture.resize((size, size), Image.Resampling.BICUBIC).save(out, "JPEG", quality=quality)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--most", type=int, default=7000)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        if (given.data / file).is_file():
            count = shrunk(given.data / file, given.out / file, given.size, given.most)
            print(f"{file}: {count} pictures, {(given.out / file).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
