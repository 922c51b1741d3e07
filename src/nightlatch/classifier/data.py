"""Labelled pictures: decoded and in memory, or read lazily, where a broken picture is one counted line."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nightlatch.errors import UsageError

Array = npt.NDArray[np.uint8]
MOST_PIXELS = 1 << 26
"""A picture that says it is larger than this is not decoded: 64 million pixels."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Decoded pictures of one size, in memory, on one device.

    Args:
        pictures: (n, 3, h, w) uint8.
        labels: (n,) int64, -1 where none is known.
        classes: names, in the order of the labels.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def at(self, rows: torch.Tensor | slice) -> Labelled:
        return replace(self, pictures=self.pictures[rows], labels=self.labels[rows])

    def to(self, device: str | torch.device) -> Labelled:
        return replace(self, pictures=self.pictures.to(device), labels=self.labels.to(device))

    def parts(self, *sizes: int, seed: int = 0) -> tuple[Labelled, ...]:
        """Disjoint random parts of these sizes, and what is left."""
        order = torch.from_numpy(np.random.default_rng((seed, 41)).permutation(len(self))).to(
            self.pictures.device
        )
        return tuple(self.at(rows) for rows in order.split([*sizes, len(self) - sum(sizes)]))


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures that are decoded when they are asked for.

    Args:
        names: what each picture is called, for reports: its path in the data set, or a number.
        labels: (n,) int64, -1 where none is known.
        classes: names, in the order of the labels.
        read: the encoded or decoded picture of a number: bytes of a picture file, or (h, w, 3) uint8. Several
            threads call it at once.
    """

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    read: Callable[[int], bytes | Array]

    def __len__(self) -> int:
        return len(self.names)

    def decode(self, k: int, size: tuple[int, int] | None = None) -> Array | str:
        """(h, w, 3) uint8 of picture ``k``, or a sentence that says why it cannot be read."""
        try:
            return decoded(self.read(k), size)
        except Exception as e:  # Pillow raises what it likes on hostile bytes
            return f"{self.names[k]} cannot be read: {type(e).__name__}."

    def batches(
        self, size: tuple[int, int], batch: int = 256
    ) -> Iterator[tuple[list[int], torch.Tensor, list[str]]]:
        """(numbers, (m, 3, h, w) uint8, sentences about those that cannot be read), in order."""
        for start in range(0, len(self), batch):
            numbers = range(start, min(start + batch, len(self)))
            got = [self.decode(k, size) for k in numbers]
            good = [k for k, g in zip(numbers, got, strict=True) if not isinstance(g, str)]
            arrays = [g for g in got if not isinstance(g, str)]
            yield good, stacked(arrays, size), [g for g in got if isinstance(g, str)]

    def load(
        self, size: tuple[int, int] | None = None, threads: int = 4
    ) -> tuple[Labelled, tuple[int, ...], tuple[str, ...]]:
        """(all readable pictures, their numbers, sentences about the others); ``size`` (h, w), that of the
        first readable one by default.

        Raises:
            UsageError: not one picture can be read.
        """
        with ThreadPoolExecutor(threads) as pool:
            got = list(pool.map(lambda k: self.decode(k, size), range(len(self)), chunksize=64))
        arrays = [(k, g) for k, g in enumerate(got) if not isinstance(g, str)]
        broken = tuple(g for g in got if isinstance(g, str))
        if not arrays:
            raise UsageError(
                "None of the pictures can be read.", broken[0] if broken else "The data set is empty."
            )
        height, width = size or arrays[0][1].shape[:2]
        fitted = [a if a.shape[:2] == (height, width) else decoded(a, (height, width)) for _, a in arrays]
        numbers = tuple(k for k, _ in arrays)
        labels = torch.from_numpy(self.labels[list(numbers)])
        return Labelled(stacked(fitted, (height, width)), labels, self.classes), numbers, broken


def decoded(raw: bytes | Array, size: tuple[int, int] | None) -> Array:
    """(h, w, 3) uint8 of a picture, resized to ``size`` (h, w) where one is given."""
    image = Image.open(io.BytesIO(raw)) if isinstance(raw, bytes) else Image.fromarray(raw)
    if image.width * image.height > MOST_PIXELS:
        raise ValueError("too large")
    image = image.convert("RGB")
    if size and (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def stacked(arrays: Sequence[Array], size: tuple[int, int]) -> torch.Tensor:
    """(n, 3, h, w) uint8 of (h, w, 3) arrays."""
    if not arrays:
        return torch.zeros(0, 3, *size, dtype=torch.uint8)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
