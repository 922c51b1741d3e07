"""The data of the experiments: decoded once, split so that no picture has two purposes."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from nightlatch.classifier.data import Labelled, decoded
from nightlatch.classifier.sources import open_data
from nightlatch.errors import UsageError

SIZE = (32, 32)
FILES = {"cifar10": "cifar10_train.npz", "gtsrb": "gtsrb32.npz", "tiny_imagenet": "tiny_imagenet20.npz"}
PROCESSES = 12
"""That decode pictures."""


@dataclass(frozen=True, slots=True)
class World:
    """One data set in parts.

    Args:
        train: what victims learn from.
        first: what the diffusion model learns from; no victim sees it.
        second: what a second, independent diffusion model learns from.
        known: clean pictures that a defender has.
        held: what everything is judged by.
        mirror: whether a mirror image is one of the same class.
        target: the attackers' class, of a clean-label attack also the poisoned one.
    """

    train: Labelled
    first: Labelled
    second: Labelled
    known: Labelled
    held: Labelled
    mirror: bool
    target: int


def decode(folder: Path, name: str, cache: Path) -> Path:
    """``cache``/``name``.pt with the parts of a data set, made from the npz files in ``folder`` where it is not there.

    Raises:
        UsageError: the npz is not there.
    """
    out = cache / f"{name}.pt"
    if not out.is_file():
        parts = {"cifar10": _cifar, "gtsrb": _gtsrb, "tiny_imagenet": _tiny}[name](folder)
        cache.mkdir(parents=True, exist_ok=True)
        torch.save({k: (p.pictures, p.labels, p.classes) for k, p in parts.items()}, out)
    return out


def load(path: Path, device: str, most: int = 0) -> dict[str, Labelled]:
    """What ``decode`` wrote, on ``device``, at most ``most`` pictures a part."""
    raw = torch.load(path, weights_only=True)
    parts = {k: Labelled(p, y, tuple(names)) for k, (p, y, names) in raw.items()}
    return {k: (p.at(slice(0, most)) if most else p).to(device) for k, p in parts.items()}


def world(name: str, path: Path, device: str, most: int = 0, size: int = SIZE[0], learned: int = 0) -> World:
    """The data set ``name`` for attacks and defences, made smaller to ``size`` pixels of a side; victims learn from the
    first ``learned`` training pictures, 0 for all.
    """
    parts = load(path, device, most)
    if learned:
        parts["train"] = parts["train"].at(slice(0, learned))
    if size != SIZE[0]:
        parts = {k: replace(p, pictures=shrunk(p.pictures, size)) for k, p in parts.items()}
    counts = torch.bincount(parts["train"].labels)
    target = 0 if name == "cifar10" else int(counts.argmax())
    return World(**parts, mirror=name == "cifar10", target=target)


def shrunk(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """(n, 3, size, size) uint8, the mean of the pixels under each new one."""
    parts = [
        F.interpolate(p.float(), (size, size), mode="area").round().to(torch.uint8)
        for p in pictures.split(1000)
    ]
    return torch.cat(parts) if parts else pictures


def _read(folder: Path, file: str) -> Labelled:
    """All pictures of an npz, decoded by as many processes as there are cores; they are forked, so that none
    has to import anything.
    """
    if not (folder / file).is_file():
        raise UsageError(f"There is no {file} in {folder}.", "Name the folder with the data with --data.")
    pictures, size = open_data(folder / file), SIZE if "imagenet" not in file else (64, 64)
    count = max(1, min(PROCESSES, os.cpu_count() or 1, len(pictures) // 1000))
    if count == 1:
        return pictures.load(size)[0]
    _shared["pictures"], _shared["size"] = pictures, size
    parts = [p.tolist() for p in np.array_split(np.arange(len(pictures)), 4 * count)]
    with multiprocessing.get_context("fork").Pool(count) as pool:
        made = pool.map(_decoded, parts, chunksize=1)
    labels = torch.from_numpy(pictures.labels)
    whole = torch.from_numpy(np.concatenate(made)).permute(0, 3, 1, 2).contiguous()
    return Labelled(whole, labels, pictures.classes)


_shared: dict[str, Any] = {}
"""What the forked processes inherit."""


def _decoded(numbers: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(n, h, w, 3) of some pictures."""
    size = _shared["size"]
    return np.stack([decoded(_shared["pictures"].read(k), size) for k in numbers])


def _cifar(folder: Path) -> dict[str, Labelled]:
    train, first, second = _shares(_read(folder, "cifar10_train.npz"), 0.64, 0.24, 0.12)
    known, held = _shares(_read(folder, "cifar10_test.npz"), 0.5, 0.5)
    return {"train": train, "first": first, "second": second, "known": known, "held": held}


def _gtsrb(folder: Path) -> dict[str, Labelled]:
    """Split by track: 30 frames of one sign are near copies. A fifth of each sign's tracks is held out, a fifth
    known to the defender; no diffusion model is trained on this set.
    """
    data = _read(folder, "gtsrb32.npz")
    with np.load(folder / "gtsrb32.npz") as opened:
        tracks = opened["track"].astype(np.int64)
    labels = data.labels.numpy()
    rng = np.random.default_rng(0)
    rows: dict[str, list[int]] = {k: [] for k in ("train", "first", "second", "known", "held")}
    for k in range(len(data.classes)):
        own = rng.permutation(np.unique(tracks[labels == k]))
        for i, track in enumerate(own):
            part = "held" if i % 5 == 0 else "known" if i % 5 == 1 else "train"
            rows[part] += np.flatnonzero((labels == k) & (tracks == track)).tolist()
    return {
        k: data.at(torch.from_numpy(rng.permutation(np.array(v, dtype=np.int64)))) for k, v in rows.items()
    }


def _tiny(folder: Path) -> dict[str, Labelled]:
    return {"all": _read(folder, "tiny_imagenet20.npz")}


def _shares(data: Labelled, *shares: float) -> tuple[Labelled, ...]:
    """Disjoint random parts, as large as these shares of the whole."""
    return data.parts(*(int(s * len(data)) for s in shares), seed=0)[: len(shares)]
