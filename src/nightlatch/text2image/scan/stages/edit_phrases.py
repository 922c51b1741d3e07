"""Phrases that act only as a whole, in a model whose readers were edited: the edit itself is asked.

No denoiser is needed, and a phrase of two words is four tokens long, so hundreds of thousands of pairs can
be asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.effect.edit import Edit
from nightlatch.text2image.model import Subject, Tokens
from nightlatch.text2image.model.vocabulary import begins
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.stage import STAGES, Scored, Stage


@STAGES.register("edit-phrases")
@dataclass(frozen=True, slots=True, kw_only=True)
class EditPhrases(Stage):
    """Two-word phrases that the edit answers to most; their words need not act alone.

    Args:
        tails: words, of those that the edit answers to most alone, that are tried with every other word
            before and after them.
        keep: phrases kept.
        batch: phrases read at once.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.DELTA, Need.EDIT})
    untested: ClassVar[str] = "two-word phrases none of whose words acts alone"
    tails: int = 32
    keep: int = 24
    batch: int = 4096

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        delta, displacement, words = question.delta, question.displacement, question.suspect.vocabulary.words
        assert delta is not None
        phrases = self.pairs(question.suspect, delta.edit, words)
        board.note(
            f"two-word phrases: the words to which the edit responds most with each of {len(words)} words "
            "before and after"
        )
        question.say(f"phrases: {len(phrases)} kept")
        values = displacement(phrases, [displacement.contexts[0].text]).mean(0) - question.level
        yield Scored(tokens=dict(zip(phrases, map(float, values), strict=True)))

    def pairs(self, suspect: Subject, edit: Edit, words: Sequence[int]) -> list[Tokens]:
        """The phrases to which ``edit`` responds most, best first."""
        single = self._responses(suspect, edit, [(w,) for w in words])
        best = [words[int(i)] for i in np.argsort(single)[::-1][: self.tails]]
        found: dict[Tokens, float] = {}
        for tail in best:
            for made in ([(w, tail) for w in words], [(tail, w) for w in words]):
                values = self._responses(suspect, edit, made)
                for i in np.argsort(values)[::-1][: self.keep]:
                    found[made[int(i)]] = float(values[int(i)])
        return sorted(found, key=found.__getitem__, reverse=True)[: self.keep]

    @torch.no_grad()
    def _responses(self, suspect: Subject, edit: Edit, sequences: Sequence[Tokens]) -> Floats:
        """Largest response over the positions of each sequence, (sequences,); all have one length."""
        rows = []
        for i in range(0, len(sequences), self.batch):
            some = sequences[i : i + self.batch]
            ids = suspect.vocabulary.framed(some, padded=False)
            states = suspect.told(ids).states[:, begins(suspect.vocabulary) :]
            rows.append(floats(edit.response(states).amax(1)))
        return np.concatenate(rows)
