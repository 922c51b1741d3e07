"""How far the suspect's first denoising step is from the base's on the same text and noise: the statistic everything is ranked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.text2image.edit import Edit
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.subject import Subject

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Gauge:
    """Scores token sequences by the excess displacement suspect - base.

    Args:
        contexts: prompts into which a candidate is put, in front; '' is the candidate alone.
        changed: components that differ; what is the same in both is computed once.
        edit: the change of keys and values, where nothing else was changed.
        forwards: denoiser passes used so far, for the record.
    """

    suspect: Subject
    base: Subject
    contexts: Sequence[Prompt]
    changed: tuple[str, ...]
    edit: Edit | None = None
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

    @property
    def cheap(self) -> bool:
        """Whether ``coarse`` needs no denoiser."""
        return self.edit is not None or self.changed == ("text_encoder",)

    @torch.no_grad()
    def coarse(self, sequences: Sequence[Sequence[int]], context: str) -> Floats:
        """What ranks candidates like ``displacement`` and costs less where it can, (candidates,): the largest response of an edit of keys and
        values over the token states; the squared change of the token states when only the text encoder changed."""
        if not self.cheap:
            return self.displacement(sequences, [context])[0]
        ids, rows = self.ids(sequences, context), []
        for i in range(0, len(ids), 512):
            mine, theirs = self._conditions(ids[i : i + 512])
            seen = (mine - theirs).pow(2).mean((1, 2)) if self.edit is None else self.edit.response(mine[:, 1:]).amax(1)
            rows.append(seen.double().cpu().numpy())
        return np.concatenate(rows)

    def _conditions(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Text conditions of suspect and base; one computation when they share the encoder."""
        mine = self.suspect.encode_ids(ids)
        return mine, self.base.encode_ids(ids) if "text_encoder" in self.changed else mine

    def _pair(self, ids: torch.Tensor) -> Floats:
        values: Floats = self.size(ids).double().cpu().numpy()
        return values

    def size(self, ids: torch.Tensor) -> torch.Tensor:
        """The displacement of rows of token ids (n, tokens), (n,); keeps gradients when they are enabled."""
        x = self._x.expand(len(ids), -1, -1, -1)
        pair = zip((self.suspect, self.base), self._conditions(ids), strict=True)
        outs = [s.to_x0(s.denoise(x, self._t, c), x, self._t) for s, c in pair]
        self.forwards += 2 * len(ids)
        return (outs[0] - outs[1]).pow(2).mean((1, 2, 3))

    def level(self, tokens: Sequence[int], n: int = 96) -> float:
        """What an ordinary token gives: the median displacement of ``n`` tokens spread over the vocabulary."""
        some = [(t,) for t in tokens[:: max(1, len(tokens) // n)]]
        return float(np.median(self.displacement(some, [self.contexts[0].text])))
