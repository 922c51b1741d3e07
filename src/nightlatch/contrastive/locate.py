"""Where a shortcut sits: which caption words carry it, and which region of a picture; both by occlusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch.contrastive import grammar
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject, to_pixels


def without(text: str, i: int) -> str:
    """``text`` without its ``i``-th word."""
    parts = grammar.words(text)
    return " ".join(parts[:i] + parts[i + 1 :])


def word_importance(subject: Subject, pairs: Pairs) -> dict[str, float]:
    """u(word) = mean over its occurrences of I.T - I.T(without it) (UBT-style step 3); words in lower
    case.
    """
    image = subject.embed_images(pairs.images)
    whole = (image * subject.embed_texts(pairs.captions)).sum(1)
    texts, owner, said = [], [], []
    for i, caption in enumerate(pairs.captions):
        parts = grammar.words(caption)
        for j, word in enumerate(parts):
            texts.append(without(caption, j))
            owner.append(i)
            said.append(word.lower())
    if not texts:
        return {}
    rows = torch.tensor(owner, device=image.device)
    lost = (whole[rows] - (image[rows] * subject.embed_texts(texts)).sum(1)).cpu().numpy()
    heard: dict[str, list[float]] = defaultdict(list)
    for word, value in zip(said, lost, strict=True):
        heard[word].append(float(value))
    return {word: float(np.mean(values)) for word, values in heard.items()}


def shortcut_words(
    subject: Subject, poison: Pairs, safe: Pairs, above: float = 2.0, share: float = 0.1
) -> tuple[str, ...]:
    """Words of poisoned captions that matter more than words of honest ones do, most important first; at
    least one.

    A word counts when it stands in at least ``share`` of the poisoned captions, in more of them than of
    honest ones, and its importance exceeds the mean of words of honest captions by ``above`` standard
    deviations (the "mean + 2 sd" rule); where none does, the best one is taken.
    """
    mine, theirs = word_importance(subject, poison), word_importance(subject, safe)
    honest = np.array(list(theirs.values()) or [0.0])
    bar = float(honest.mean() + above * honest.std())
    here, there = _shares(poison.captions), _shares(safe.captions)
    known = [w for w in mine if grammar.is_noun(w) and here[w] >= share and here[w] > 2 * there.get(w, 0.0)]
    known = known or [w for w in mine if grammar.is_noun(w)] or list(mine)
    ranked = sorted(known, key=lambda w: -mine[w] * here[w])
    return tuple(w for w in ranked if mine[w] > bar) or tuple(ranked[:1])


def _shares(captions: Sequence[str]) -> dict[str, float]:
    """In which share of ``captions`` each word stands."""
    count: dict[str, int] = defaultdict(int)
    for caption in captions:
        for word in {w.lower() for w in grammar.words(caption)}:
            count[word] += 1
    return {word: n / len(captions) for word, n in count.items()}


def reduced(caption: str, words: Sequence[str]) -> str:
    """``caption`` with only ``words`` left of it; all of ``words`` where it holds none."""
    kept = [w for w in grammar.words(caption) if w.lower() in words]
    return " ".join(kept or words)


@torch.no_grad()
def occlusion(
    subject: Subject, images: torch.Tensor, toward: torch.Tensor, grid: int = 8, window: int = 2
) -> torch.Tensor:
    """How much of the similarity with ``toward`` (d,) each cell of a ``grid`` x ``grid`` raster carries, (n,
    grid, grid).

    A ``window`` x ``window`` block of cells is replaced by a strongly blurred picture; each cell gets the
    mean drop of the blocks over it.
    """
    n, size = len(images), images.shape[-1]
    edges = np.linspace(0, size, grid + 1).round().astype(int)
    whole = subject.embed_images(images) @ toward
    drop = torch.zeros(n, grid, grid, device=whole.device)
    times = torch.zeros(grid, grid, device=whole.device)
    for y in range(grid - window + 1):
        for x in range(grid - window + 1):
            top, bottom, left, right = edges[y], edges[y + window], edges[x], edges[x + window]
            parts = []
            for part in images.split(512):
                pixels = to_pixels(part.to(whole.device))
                hidden = pixels.clone()
                hidden[:, :, top:bottom, left:right] = blurred(pixels)[:, :, top:bottom, left:right]
                parts.append(subject.image(hidden) @ toward)
            lost = whole - torch.cat(parts)
            drop[:, y : y + window, x : x + window] += lost[:, None, None]
            times[y : y + window, x : x + window] += 1
    return drop / times


def blurred(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures without detail: box-blurred over half their side."""
    k = pixels.shape[-1] // 4 * 2 + 1
    return F.avg_pool2d(F.pad(pixels, (k // 2,) * 4, mode="reflect"), k, stride=1)


def region(heat: torch.Tensor, size: int, share: float = 0.5) -> torch.Tensor:
    """Cells that together carry ``share`` of a map's positive mass, fewest first, as a mask (n, 1, size,
    size) in {0, 1}.
    """
    n, grid, _ = heat.shape
    flat = heat.clamp(min=0).flatten(1)
    order = flat.argsort(1, descending=True)
    mass = flat.gather(1, order).cumsum(1)
    needed = mass - flat.gather(1, order) < share * mass[:, -1:]
    mask = torch.zeros_like(flat).scatter(1, order, needed.float()).view(n, 1, grid, grid)
    return F.interpolate(mask, size=(size, size), mode="nearest")


def concentration(heat: torch.Tensor) -> torch.Tensor:
    """Share of a map's positive mass in its strongest tenth of cells, (n,); 0.1 where it is even, 1 where one
    spot has all.
    """
    flat = heat.clamp(min=0).flatten(1)
    k = max(1, round(0.1 * flat.shape[1]))
    return flat.topk(k, 1).values.sum(1) / flat.sum(1).clamp(min=1e-9)
