"""This project's finder: a poisoned picture fits its caption only as long as nothing is done to the
picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from nightlatch import stats
from nightlatch.contrastive import grammar
from nightlatch.contrastive.find.base import FINDERS, Finder, Scores
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject, to_pixels


@FINDERS.register("fragile")
@dataclass(frozen=True, slots=True, kw_only=True)
class Fragile(Finder):
    """Drop of I.T when the picture is simplified, as a robust z, and how much the caption's words are
    over-represented among what drops most.

    What a picture shows survives a blur, a small turn and the loss of a border or centre; a shortcut made of
    pixels does not survive all of them. Each simplification gives z_i = robust z of I.T - I'.T; a pair's
    score is its largest z. An attacker needs one target, so poisoned captions share words: log( (a + 1) / (b
    + 1) ) of the most over-represented noun is added, with a of the ``tail`` that hold it and b expected.

    Args:
        soft: width of the blur, as a share of the picture's side (chosen on 16-pixel pictures, where it is
            three pixels).
        turn: of the rotation, radians.
        border: width of the border that is blurred away, as a share of the side, and half the side of the
            centre that is.
        tail: share of pairs with the largest drops, in which words are counted.
        words: weight of the words' share in the score.
    """

    fewest: ClassVar[int] = 32
    soft: float = 0.19
    turn: float = 0.35
    border: float = 0.25
    tail: float = 0.02
    words: float = 2.0

    def run(self, subject: Subject, pairs: Pairs, seed: int) -> Scores:
        z = self.fragility(subject, pairs)
        return z + self.words * self.most(pairs.captions, self.enriched(pairs.captions, z))

    def fragility(self, subject: Subject, pairs: Pairs) -> Scores:
        """The largest robust z of a drop, (n,)."""
        text = subject.embed_texts(pairs.captions)
        before, after = [], []
        with torch.no_grad():
            for rows in torch.arange(len(pairs)).split(512):
                x, t = to_pixels(pairs.images[rows].to(subject.device)), text[rows.to(text.device)]
                before.append((subject.image(x) * t).sum(1))
                after.append(torch.stack([(subject.image(y) * t).sum(1) for y in self.simplified(x)]))
        drop = (torch.cat(before) - torch.cat(after, 1)).double().cpu().numpy()
        z: Scores = np.stack([stats.robust_z(d, d) for d in drop]).max(0)
        return z

    def simplified(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The pictures (n, 3, h, w) blurred, turned, without their border's detail and without their
        centre's.
        """
        size = x.shape[-1]
        k = max(1, round(self.soft * size) // 2) * 2 + 1
        soft = F.avg_pool2d(F.pad(x, (k // 2,) * 4, mode="reflect"), k, stride=1)
        heavy = F.avg_pool2d(F.pad(x, (k,) * 4, mode="reflect"), 2 * k + 1, stride=1)
        line = (torch.arange(size, device=x.device) + 0.5) / size
        edge = torch.minimum(line, 1 - line)
        inside = torch.minimum(edge[:, None], edge[None])
        border, centre = inside < self.border, inside > 0.5 - self.border
        return [soft, self.turned(x), torch.where(border, heavy, x), torch.where(centre, heavy, x)]

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        """Rotated by ``turn``."""
        c, s = float(np.cos(self.turn)), float(np.sin(self.turn))
        rows = torch.tensor([[c, -s, 0.0], [s, c, 0.0]], device=x.device).expand(len(x), -1, -1)
        return F.grid_sample(
            x,
            F.affine_grid(rows, list(x.shape), align_corners=False),
            padding_mode="reflection",
            align_corners=False,
        )

    def enriched(self, captions: tuple[str, ...], z: npt.NDArray[np.float64]) -> dict[str, float]:
        """Of each noun of ``captions``, the logarithm of how over-represented it is in the tail of ``z``."""
        things = nouns(captions)
        tail = np.argsort(-z, kind="stable")[: max(8, round(self.tail * len(z)))]
        everywhere, there = (
            Counter(w for t in things for w in t),
            Counter(w for i in tail for w in things[int(i)]),
        )
        share = len(tail) / len(z)
        return {w: float(np.log((there[w] + 1) / (n * share + 1))) for w, n in everywhere.items()}

    def most(self, captions: tuple[str, ...], enriched: dict[str, float]) -> npt.NDArray[np.float64]:
        """Of each caption's nouns, the largest of ``enriched``; 0 without nouns."""
        return np.array([max((enriched[w] for w in t), default=0.0) for t in nouns(captions)])


def nouns(captions: tuple[str, ...]) -> list[set[str]]:
    """The nouns of each caption in lower case."""
    return [{w.lower() for w in grammar.words(c) if grammar.is_noun(w)} for c in captions]
