"""How far the suspect's first denoising step is from the base's on the same text and noise: the statistic everything is ranked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.subject import Subject

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Gauge:
    """Scores token sequences by the excess displacement suspect - base.

    Args:
        contexts: prompts into which a candidate is put, in front; '' is the candidate alone.
        forwards: denoiser passes used so far, for the record.
    """

    suspect: Subject
    base: Subject
    contexts: Sequence[Prompt]
    changed: tuple[str, ...]
    batch: int = 128
    forwards: int = 0
    _x: torch.Tensor = field(init=False)
    _t: int = field(init=False)

    def __post_init__(self) -> None:
        self._t = self.suspect.timesteps(10)[0]
        self._x = self.suspect.noise([12345])

    def ids(self, sequences: Sequence[Sequence[int]], context: str) -> torch.Tensor:
        """[start, *sequence, *context, end, pad...] for each candidate, (n, tokens)."""
        tok = self.suspect.tokenizer
        tail = tok(context, add_special_tokens=False).input_ids if context else []
        width = self.suspect.max_length
        rows = [[tok.bos_token_id, *[*s, *tail][: width - 2], tok.eos_token_id] for s in sequences]
        return torch.tensor([r + [tok.pad_token_id] * (width - len(r)) for r in rows])

    @torch.no_grad()
    def displacement(self, sequences: Sequence[Sequence[int]], contexts: Sequence[str]) -> Floats:
        """|x0_suspect - x0_base|^2 at the first sampling step, mean over the latent, (contexts, candidates)."""
        rows = []
        for context in contexts:
            ids = self.ids(sequences, context)
            rows.append(np.concatenate([self._pair(ids[i : i + self.batch]) for i in range(0, len(ids), self.batch)]))
        return np.stack(rows)

    def _pair(self, ids: torch.Tensor) -> Floats:
        x = self._x.expand(len(ids), -1, -1, -1)
        outs = [s.to_x0(s.denoise(x, self._t, s.encode_ids(ids)), x, self._t) for s in (self.suspect, self.base)]
        self.forwards += 2 * len(ids)
        values: Floats = (outs[0] - outs[1]).pow(2).mean((1, 2, 3)).double().cpu().numpy()
        return values

    def level(self, tokens: Sequence[int], n: int = 96) -> float:
        """What an ordinary token gives: the median displacement of ``n`` tokens spread over the vocabulary."""
        some = [(t,) for t in tokens[:: max(1, len(tokens) // n)]]
        return float(np.median(self.displacement(some, [self.contexts[0].text])))
