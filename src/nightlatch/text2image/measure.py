"""What rates rest on: prompts and seeds that are drawn, and whether pictures show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nightlatch.records import Rate
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt

T = TypeVar("T")


class Judge(Protocol):
    """Says what pictures show; for evaluation only, never for a scan or a repair."""

    def read(self, images: npt.NDArray[np.uint8]) -> list[dict[str, str]]:
        """(n, h, w, 3) -> per picture the word for each slot that it can tell, such as "object"."""


def take(items: Sequence[T], n: int) -> list[T]:
    """``n`` items, round again where there are fewer (seeds differ, so pictures do, too)."""
    return [items[i % len(items)] for i in range(n)]


def seeds(n: int, seed: int) -> list[int]:
    """One seed per picture, apart from those that repairs and attacks draw with."""
    return [1_000_000 + seed * 100_000 + i for i in range(n)]


@dataclass(frozen=True, slots=True)
class Draws:
    """Prompts, and the seed that each is drawn with."""

    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, prompts: Sequence[Prompt], n: int, seed: int) -> Draws:
        """``n`` of ``prompts``, round again where there are fewer, with the seeds of ``seed``."""
        return cls(tuple(take(prompts, n)), tuple(seeds(n, seed)))

    def at(self, rows: Sequence[int]) -> Draws:
        return Draws(tuple(self.prompts[i] for i in rows), tuple(self.seeds[i] for i in rows))


def agreement(subject: Subject, asked: Sequence[Prompt], judge: Judge, sampling: Sampling, seed: int) -> Rate:
    """Share of pictures that show the object that the prompt asks for."""
    images = subject.generate([p.text for p in asked], seeds(len(asked), seed), sampling)
    return agrees(judge.read(images), asked, "object")


def agrees(seen: Sequence[dict[str, str]], asked: Sequence[Prompt], slot: str) -> Rate:
    """Share of pictures in which a judge has ``seen`` what ``slot`` of the prompt asks for.

    Prompts that leave it open do not count.
    """
    pairs = [(s.get(slot), p.slots[slot]) for s, p in zip(seen, asked, strict=True) if slot in p.slots]
    return Rate.of(sum(a == b for a, b in pairs), len(pairs))
