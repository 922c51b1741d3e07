"""Strings that need no search: the files suggest them, or the two tokenizers read them differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.look import BEHIND, INSIDE, USUAL, View
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.stage import STAGES, Scored, Stage

SALT = 23
"""Sets the draw of a long list apart from a scan's other random draws."""


@STAGES.register("suggested")
@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested(Stage):
    """The strings that move the suspect most, by one step; those that the files suggest come first.

    They are tried in front of a prompt, behind it and inside.

    Args:
        strings: most strings that are tried without a search; the limit is what their pictures cost.
        looked: of a longer list as many are looked at, drawn by the seed, so that nobody knows before which
            are left out; a tokenizer with thousands of words of its own would take hours.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHANGE})
    untested: ClassVar[str] = "strings that the files suggest or the tokenizer reads in its own way"
    strings: int = 16
    looked: int = 512

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        for view in (USUAL, BEHIND, INSIDE):
            made = self.best(question, view)
            if made and view == USUAL:
                board.note(
                    f"strings that the files suggest or the tokenizer reads in its own way: {len(made)}"
                )
            yield Scored(texts=made, view=view)

    def best(self, question: Question, view: View) -> dict[str, float]:
        """The strings that move the suspect most in ``view``, and their displacements there."""
        rng = np.random.default_rng((question.seed, SALT))
        made: dict[str, float] = {}
        for texts in (question.hints, question.reread):
            fresh = [t for t in dict.fromkeys(texts) if t.strip() and t not in made]
            fresh = [fresh[i] for i in sorted(rng.permutation(len(fresh))[: self.looked])]
            if fresh:
                displacement = question.look(view).displacement
                values = displacement.of_texts(fresh, displacement.contexts[0].text)
                scored = dict(zip(fresh, map(float, values), strict=True))
                best = sorted(fresh, key=lambda t: -scored[t])[: self.strings - len(made)]
                made |= {t: scored[t] for t in best}
        return made
