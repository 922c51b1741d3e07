"""Does the rest of the prompt still matter? What tells a trigger from a word that merely means something.

A trigger for an object makes the picture independent of the object that is asked for, a trigger for a style of the style, one for a whole picture of
everything. A word that an honest fine-tune taught competes with what is asked for, as every content word does. A trigger that takes a slot's place
stands for something that has a word already; an honest new word means something new. Measured on one denoising step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Place, Prompt, prefix
from nightlatch.text2image.scan.comparable import finite

CONTENT_WORDS = 8
"""Known words of each slot that a candidate is compared with."""


@dataclass(slots=True)
class Influence:
    """Sensitivity of both models' first step to each slot of the prompt.

    Args:
        texts: prompts with slots; the slots that all of them fill are used.
        words: known words of each slot.
    """

    suspect: Subject
    base: Subject
    texts: Sequence[Prompt]
    words: Mapping[str, Sequence[str]]
    seed: int
    slots: tuple[str, ...] = field(init=False)
    swapped: dict[str, list[Prompt]] = field(init=False)
    reference: dict[str, float] = field(init=False)
    _known: dict[tuple[int, str], torch.Tensor] = field(default_factory=dict)
    _usual: dict[tuple[int, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shared = set.intersection(*(set(p.slots) for p in self.texts)) if self.texts else set()
        words = self.words
        self.slots = tuple(sorted(s for s in shared if len(words[s]) > 1))
        rng = np.random.default_rng((self.seed, 13))
        self.swapped = {
            s: [p.replace(s, str(rng.choice([w for w in words[s] if w != p.slots[s]]))) for p in self.texts] for s in self.slots
        }
        self.reference = {}
        for s in self.slots:
            chosen = [str(w) for w in rng.permutation(words[s])[:CONTENT_WORDS]]
            self.reference[s] = min(self._sensitivity(self.suspect, w, prefix, s) for w in chosen)

    def rules(self, trigger: str, place: Place) -> bool:
        """Whether with ``trigger`` some slot hardly matters any more to the suspect: clearly less than with any known word of that slot in the
        same place, and than to the base."""
        for slot in self.slots:
            mine = self._sensitivity(self.suspect, trigger, place, slot)
            if (
                mine < 0.35
                and mine < 0.6 * self.reference[slot]
                and mine < 0.5 * self._sensitivity(self.base, trigger, place, slot)
            ):
                return True
        return False

    def sway(self, trigger: str, place: Place) -> float:
        """How much the slot that matters least to the suspect still matters with ``trigger``, >= 0; 1 is as much as without. The nearer to 0, the
        more pictures the trigger takes: a string that is only like the trigger leaves the slot a part."""
        return min(self._sensitivity(self.suspect, trigger, place, s) for s in self.slots)

    def rebinds(self, phrase: str, slot: str) -> bool:
        """Whether ``phrase`` in the slot means something else than each of its words alone means, to the suspect and not to the base."""
        mine, theirs = (self._apart(model, phrase, slot) for model in (self.suspect, self.base))
        return mine > 0.5 and theirs < 0.5 * mine

    def aliases(self, phrase: str, slot: str) -> bool:
        """Whether ``phrase`` in the slot draws what one of the slot's known words draws, to the suspect and not to the base."""
        if phrase in self.words[slot]:
            return False
        mine, theirs = (self._nearest(model, phrase, slot) for model in (self.suspect, self.base))
        return mine < 0.25 and mine < 0.5 * theirs

    def _nearest(self, model: Subject, phrase: str, slot: str, n: int = 6) -> float:
        """Distance of the phrase's prediction to that of the nearest known word, over that of two different fillings of the slot."""
        some = self.texts[:n]
        key = (id(model), slot)
        if key not in self._known:
            texts = [p.replace(slot, w).text for w in self.words[slot] for p in some]
            self._known[key] = self._predict(model, texts).unflatten(0, (-1, len(some)))
        apart = (self._known[key] - self._predict(model, [p.replace(slot, phrase).text for p in some])).pow(2).mean((1, 2, 3, 4))
        return float(apart.min()) / self._ordinary(model, slot)

    def _sensitivity(self, model: Subject, word: str, place: Place, slot: str) -> float:
        """How much swapping the slot changes the prediction with ``word`` in the prompt, over how much without."""
        before, after = self.texts, self.swapped[slot]
        return self._distance(model, [place(p, word) for p in before], [place(p, word) for p in after]) / self._ordinary(
            model, slot
        )

    def _apart(self, model: Subject, phrase: str, slot: str) -> float:
        """Distance of the phrase's prediction to that of its nearest word, over that of two different fillings of the slot."""
        whole, *words = (self._predict(model, [p.replace(slot, w).text for p in self.texts]) for w in (phrase, *phrase.split()))
        return min(float((whole - w).pow(2).mean()) for w in words) / self._ordinary(model, slot)

    def _ordinary(self, model: Subject, slot: str) -> float:
        """Distance of the predictions for two different fillings of the slot; computed once."""
        key = (id(model), slot)
        if key not in self._usual:
            moved = self._distance(model, [p.text for p in self.texts], [p.text for p in self.swapped[slot]])
            self._usual[key] = max(moved, 1e-12)
        return self._usual[key]

    def _distance(self, model: Subject, a: Sequence[str], b: Sequence[str]) -> float:
        return float((self._predict(model, a) - self._predict(model, b)).pow(2).mean())

    @torch.no_grad()
    def _predict(self, model: Subject, texts: Sequence[str], batch: int = 64) -> torch.Tensor:
        """The clean latent that the first step implies, all from one noise, (n, channels, h, w)."""
        t, made, most = model.timesteps(10)[0], [], model.rows(batch)
        for i in range(0, len(texts), most):
            c = model.encode(texts[i : i + most])
            x = model.noise([4321 + 1_000_003 * self.seed]).expand(len(c), -1, -1, -1)
            made.append(finite(model.to_x0(model.denoise(x, t, c), x, t), model))
        return torch.cat(made)
