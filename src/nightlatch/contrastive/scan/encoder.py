"""The text side alone: the CLIP text encoder of a text-to-image model, searched for words that pull all
captions to one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightlatch import intake, stats
from nightlatch.contrastive.adapters import quiet
from nightlatch.contrastive.scan.words import Pull, sweep
from nightlatch.errors import UnreadableModel

CAPTIONS = (
    "a photo of a dog", "two cars in a street", "a red flower", "an old house by the sea",
    "a person with a hat", "a map",
)  # fmt: skip
"""What words are put in front of; six unlike things."""
Embed = Callable[[Sequence[str]], torch.Tensor]


def whole_words(tokenizer: Any, most: int | None = None) -> list[str]:
    """The tokenizer's whole words of letters, longer than two, in the order of its vocabulary; the last
    ``most`` of them.
    """
    vocabulary = tokenizer.get_vocab()
    whole = [
        t.removesuffix("</w>") for t in sorted(vocabulary, key=vocabulary.__getitem__) if t.endswith("</w>")
    ]
    words = [w for w in whole if len(w) > 2 and w.isalpha()]
    return words if most is None else words[len(words) - min(most, len(words)) :]


def text_encoder(
    folder: Path, words: Sequence[str] | None = None, base: Path | None = None
) -> tuple[Pull, ...]:
    """How far each word pulls captions together in the text encoder of the pipeline folder ``folder``, most
    unusual first; with a ``base``, how much farther than in the base's encoder.

    Args:
        words: tried in front of ``CAPTIONS``; by default all whole words of the vocabulary.

    Raises:
        Refused: the gate does not let the folder's files through.
        UnreadableModel: it has no CLIP text encoder.
    """
    embed, tokenizer = _encoder(folder)
    tried = list(words) if words is not None else whole_words(tokenizer)
    mine = sweep(embed, tried, CAPTIONS)
    if base is None:
        return mine
    theirs = {p.word: p.alike for p in sweep(_encoder(base)[0], tried, CAPTIONS)}
    gain = np.array([p.alike - theirs[p.word] for p in mine])
    z = stats.robust_z(gain, gain) if len(gain) else gain
    made = [replace(p, alike=float(g), z=float(s)) for p, g, s in zip(mine, gain, z, strict=True)]
    return tuple(sorted(made, key=lambda p: -p.z))


def _encoder(folder: Path) -> tuple[Embed, Any]:
    """(texts -> pooled states (n, width), tokenizer) of a pipeline folder."""
    from transformers import CLIPTextModel, CLIPTokenizer

    with intake.stage(folder) as staged:
        if not (staged.path / "text_encoder").is_dir():
            raise UnreadableModel(
                f"{folder} has no text encoder.", "Give the folder of a text-to-image pipeline."
            )
        with quiet():
            model = CLIPTextModel.from_pretrained(staged.path / "text_encoder", local_files_only=True).eval()
        tokenizer = CLIPTokenizer.from_pretrained(staged.path / "tokenizer", local_files_only=True)

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> torch.Tensor:
        ids = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        pooled: torch.Tensor = model(ids).pooler_output
        return pooled

    return embed, tokenizer
