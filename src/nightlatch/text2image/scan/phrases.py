"""Phrases that act only as a whole, for a model whose cross-attention keys and values were edited: the edit itself is asked.

No denoiser is needed, and a phrase of two words is four
tokens long, so hundreds of thousands of pairs can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.edit import Edit
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.sweep import Tokens


def pairs(
    suspect: Subject, base: Subject, words: Sequence[int], tails: int = 32, keep: int = 24, batch: int = 4096
) -> list[Tokens]:
    """Two-word phrases to which the edit responds most, best first.

    Single words are asked first; the ``tails`` most responding ones are then tried with every other word before and after them.
    """
    edit = Edit.between(suspect.unet, base.unet)
    single = _responses(suspect, edit, [(w,) for w in words], batch)
    best = [words[int(i)] for i in np.argsort(single)[::-1][:tails]]
    found: dict[Tokens, float] = {}
    for tail in best:
        for made in ([(w, tail) for w in words], [(tail, w) for w in words]):
            values = _responses(suspect, edit, made, batch)
            for i in np.argsort(values)[::-1][:keep]:
                found[made[int(i)]] = float(values[int(i)])
    return sorted(found, key=found.__getitem__, reverse=True)[:keep]


@torch.no_grad()
def _responses(suspect: Subject, edit: Edit, sequences: Sequence[Tokens], batch: int) -> Floats:
    """Largest response over the positions after the start token, (sequences,). All sequences have one length."""
    tok = suspect.tokenizer
    rows = []
    for i in range(0, len(sequences), batch):
        ids = torch.tensor([[tok.bos_token_id, *s, tok.eos_token_id] for s in sequences[i : i + batch]], device=suspect.device)
        rows.append(floats(edit.response(suspect.encode_ids(ids)[:, 1:]).amax(1)))
    return np.concatenate(rows)
