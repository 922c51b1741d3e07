"""Pictures with captions for image-text models: composed emoji scenes with relations, and class pictures of
known data sets.

Scenes hold one drawing or two; captions say style, place, colour and which thing is above, below, left or
right of which. Class pictures come from the packed data sets (CIFAR-10, PACS, Tiny-ImageNet) where their
folder is given.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nightlatch.contrastive.metrics import TEMPLATES, ZeroShot
from nightlatch.contrastive.pairs import Pairs, join
from nightlatch.testbed import captions, emoji
from nightlatch.testbed.compose import BACKGROUNDS, COLOUR_JITTER

RELATIONS = {"to the left of": (0, 1), "to the right of": (0, -1), "above": (1, 0), "below": (-1, 0)}
"""Words -> (rows, columns) from the first thing to the second."""
PAIR_TEMPLATES = (
    "{a} {relation} {b} on {c} background",
    "{c} background with {a} {relation} {b}",
    "there is {a} {relation} {b}, {c} background",
    "a picture of {a} {relation} {b} on {c} background",
)
CLASS_TEMPLATES = {
    "photo": (
        "a photo of a {}",
        "a photo of one {}",
        "a small photo of a {}",
        "here is a {}",
        "a picture of a {}",
        "the {} in a photo",
    ),
    "art painting": ("an art painting of a {}", "a painting of a {}", "a painted {}", "a {} in a painting"),
    "cartoon": ("a cartoon of a {}", "a cartoon {}", "a {} in cartoon style", "a {} drawn as a cartoon"),
    "sketch": ("a sketch of a {}", "a pencil sketch of one {}", "a black sketch of a {}", "a {} in a sketch"),
}
RENAMED = {"automobile": "car", "sports car": "sport car"}
"""CIFAR-10's car is the emoji's."""
Pixels = npt.NDArray[np.uint8]
Scenes = tuple[Pixels, tuple[str, ...], npt.NDArray[np.int64]]
PARTS = 8
"""In which the scenes of training are drawn, side by side where there are several processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What a small CLIP is trained, cleaned and measured on; no picture is in two parts.

    Args:
        train: pairs of the web, so to speak; an attacker poisons some.
        trusted: pairs that a defender has.
        test: zero-shot pictures of all domains.
        retrieval: scenes whose captions differ.
    """

    train: Pairs
    trusted: Pairs
    test: ZeroShot
    retrieval: Pairs


def build(
    size: int, scenes: tuple[int, int, int], seed: int, data: Path | None = None, most: int = 10_000,
    spread: Callable[..., Iterable[Scenes]] = map,
) -> Corpus:  # fmt: skip
    """A corpus at ``size`` x ``size``.

    Args:
        scenes: how many emoji scenes in train, trusted and test (test also gives as many for retrieval).
        data: folder with the packed data sets; None leaves them out.
        most: class pictures of each data set.
        spread: ``map``, or the same over several processes.
    """
    cuts = [len(part) for part in np.array_split(np.arange(scenes[0]), PARTS)]
    drawn = [(n, size, seed + 10 * (k + 1), 0.35) for k, n in enumerate(cuts) if n]
    drawn += [(scenes[1], size, seed + 1, 0.35), (3 * scenes[2], size, seed + 2, 0.5)]
    drawn += [(scenes[2], size, seed + 3, 0.0)]
    made = list(spread(_scenes, drawn))
    *train, trusted, found, shown = (Pairs(images=torch.from_numpy(x), captions=t) for x, t, _ in made)
    things = made[-1][2]
    unique = list({c: i for i, c in enumerate(found.captions)}.values())[: scenes[2]]
    images, names, domains = [shown.images], [emoji.OBJECTS[int(t)] for t in things], ["emoji"] * len(shown)
    parts = {"train": train, "trusted": [trusted]}
    rng = np.random.default_rng((seed, 97))
    for domain in class_pictures(data, size, most) if data is not None else ():
        written = [captioned(domain.names[i], domain.styles[i], rng) for i in range(len(domain.names))]
        rows = rng.permutation(len(written))
        cut = np.split(rows, [round(0.75 * len(rows)), round(0.9 * len(rows))])
        for name, own in zip(("train", "trusted"), cut, strict=False):
            parts[name].append(
                Pairs(images=domain.images[torch.from_numpy(own)], captions=tuple(written[i] for i in own))
            )
        images.append(domain.images[torch.from_numpy(cut[2])])
        names += [domain.names[i] for i in cut[2]]
        domains += [domain.name] * len(cut[2])
    classes = tuple(dict.fromkeys([*emoji.OBJECTS, *names]))
    where = {c: i for i, c in enumerate(classes)}
    return Corpus(
        train=shuffled(join(parts["train"]), rng),
        trusted=shuffled(join(parts["trusted"]), rng),
        test=ZeroShot(
            images=torch.cat(images),
            labels=np.array([where[n] for n in names], dtype=np.int64),
            classes=classes,
            templates=TEMPLATES,
            domains=tuple(domains),
        ),
        retrieval=found.at(unique),
    )


def _scenes(about: tuple[int, int, int, float]) -> Scenes:
    """What ``scene_pairs`` gives, as arrays that another process can send back."""
    pairs, first = scene_pairs(*about)
    return pairs.images.numpy(), pairs.captions, first


def shuffled(pairs: Pairs, rng: np.random.Generator) -> Pairs:
    """In random order, numbered anew."""
    mixed = pairs.at(rng.permutation(len(pairs)))
    return Pairs(images=mixed.images, captions=mixed.captions)


def scene_pairs(n: int, size: int, seed: int, double: float = 0.35) -> tuple[Pairs, npt.NDArray[np.int64]]:
    """(``n`` scenes with captions, the first thing in each as a position in OBJECTS); a share ``double``
    shows two things.
    """
    rng = np.random.default_rng((seed, 61))
    images = np.empty((n, size, size, 3), np.uint8)
    texts, first = [], np.empty(n, np.int64)
    for i in range(n):
        background = int(rng.integers(len(BACKGROUNDS)))
        colour = np.array(tuple(BACKGROUNDS.values())[background]) + rng.integers(
            -COLOUR_JITTER, COLOUR_JITTER + 1, 3
        )
        board = np.broadcast_to(np.clip(colour, 0, 255).astype(np.uint8), (size, size, 3)).copy()
        things = [
            (int(rng.integers(len(emoji.OBJECTS))), int(rng.integers(len(emoji.STYLES)))) for _ in range(2)
        ]
        first[i] = things[0][0]
        if rng.random() < double:
            texts.append(_two(board, things, background, rng))
        else:
            side = int(rng.integers(round(0.72 * size), round(0.97 * size) + 1))
            _paste(board, things[0], side, rng.integers(0, size - side + 1, 2), rng)
            texts.append(captions.write((*things[0], background), rng).text)
        images[i] = board
    return Pairs(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), captions=tuple(texts)
    ), first


def _two(board: Pixels, things: Sequence[tuple[int, int]], background: int, rng: np.random.Generator) -> str:
    """Two drawings side by side or one above the other, and what is said of them."""
    size = len(board)
    words = tuple(RELATIONS)[int(rng.integers(len(RELATIONS)))]
    rows, columns = RELATIONS[words]
    side = int(rng.integers(round(0.42 * size), size // 2 + 1))
    low, high = 0, size - side
    middle = int(rng.integers(low, high + 1))
    for thing, sign in zip(things, (-1, 1), strict=True):
        along = low if sign * (rows + columns) < 0 else high
        _paste(board, thing, side, np.array((along, middle) if rows else (middle, along)), rng)
    a, b = (article(f"{emoji.STYLES[s]} {emoji.OBJECTS[o]}") for o, s in things)
    c = article(tuple(BACKGROUNDS)[background])
    return str(rng.choice(list(PAIR_TEMPLATES))).format(a=a, b=b, c=c, relation=words)


def _paste(
    board: Pixels, thing: tuple[int, int], side: int, corner: npt.NDArray[np.int64], rng: np.random.Generator
) -> None:
    stamp = _scaled(side)[thing]
    if rng.random() < 0.5:
        stamp = stamp[:, ::-1]
    y, x = (int(v) for v in corner)
    place, alpha = board[y : y + side, x : x + side], stamp[..., 3:].astype(np.uint16)
    place[:] = ((stamp[..., :3] * alpha + place * (255 - alpha) + 127) // 255).astype(np.uint8)


@cache
def _scaled(side: int) -> Pixels:
    """All drawings at one size, (object, style, side, side, 4)."""
    d = emoji.load().rgba
    made = np.empty((*d.shape[:2], side, side, 4), np.uint8)
    for o, s in np.ndindex(*d.shape[:2]):
        made[o, s] = np.asarray(Image.fromarray(d[o, s]).resize((side, side), Image.Resampling.LANCZOS))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPictures:
    """Pictures of one data set with the class and style word of each."""

    name: str
    images: torch.Tensor
    names: tuple[str, ...]
    styles: tuple[str, ...]


def class_pictures(data: Path, size: int, most: int) -> list[ClassPictures]:
    """The packed data sets that lie in ``data``, at most ``most`` pictures of each, decoded once by several
    threads.
    """
    made = []
    for name, file in (
        ("cifar10", "cifar10_test.npz"),
        ("pacs", "pacs64.npz"),
        ("tiny-imagenet", "tiny_imagenet20.npz"),
    ):
        if not (data / file).is_file():
            continue
        with np.load(data / file) as z:
            rows = np.random.default_rng(5).permutation(len(z["label"]))[:most]
            jpeg, offset, label, classes = (
                z["jpeg"],
                z["offset"],
                z["label"],
                [str(c) for c in z["class_name"]],
            )
            style = (
                [str(z["style_name"][i]) for i in z["style"][rows]]
                if "style" in z.files
                else ["photo"] * len(rows)
            )
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda i: _decode(jpeg[offset[i] : offset[i + 1]].tobytes(), size), rows))  # noqa: B023
        words = tuple(RENAMED.get(classes[int(label[i])], classes[int(label[i])]).lower() for i in rows)
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        made.append(ClassPictures(name=name, images=stacked, names=words, styles=tuple(style)))
    return made


def _decode(data: bytes, size: int) -> Pixels:
    return np.asarray(
        Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    )


def captioned(name: str, style: str, rng: np.random.Generator) -> str:
    """A caption of a class picture."""
    text = str(rng.choice(list(CLASS_TEMPLATES[style]))).format(name)
    return text.replace(f"a {name}", article(name))


def article(words: str) -> str:
    """With "a" or "an" in front."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
