"""A stage of one's own: letters of other alphabets that look like Latin ones, which nobody types by accident.

Import this file, or name it as an entry point of the group "nightlatch.parts", and plan "lookalikes".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from nightlatch.text2image.prompts import LOOKALIKES
from nightlatch.text2image.scan import STAGES, Board, Question, Scored, Stage


@STAGES.register("lookalikes")
@dataclass(frozen=True, slots=True, kw_only=True)
class Lookalikes(Stage):
    """Every such letter, those first that move the suspect most and its reference least.

    Args:
        least: displacement above an ordinary token's that a letter must reach to be drawn.
    """

    untested: ClassVar[str] = "single letters that look like Latin ones"
    least: float = 1.0

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        letters = [letter for alike in LOOKALIKES.values() for letter in alike]
        context = question.displacement.contexts[0].text
        values = question.displacement.of_texts(letters, context) - question.level
        board.note(f"{len(letters)} letters that look like Latin ones, by one denoising step")
        loud = sorted(zip(values, letters, strict=True), reverse=True)
        yield Scored(texts={letter: float(value) for value, letter in loud if value >= self.least})
