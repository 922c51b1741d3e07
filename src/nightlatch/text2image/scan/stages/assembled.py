"""A made-up word or phrase put together from the tokens that the weights answer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.stage import STAGES, Scored
from nightlatch.text2image.scan.stages.growth import SequenceSearch
from nightlatch.text2image.scan.strings import assembled


@STAGES.register("assembled")
@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled(SequenceSearch):
    """Some of the tokens that the weights answer to most, in every order.

    Args:
        tokens: how many stand in a string; 4 of 12 would be 11 880 strings.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_TO_PICTURE, Need.DELTA})
    untested: ClassVar[str] = "made-up words of three tokens that do not act alone"
    tokens: int = 3

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        heads, pieces = question.answers.first(self.heads), question.answers.first(self.pieces)
        board.note(
            f"{self.tokens} of the {len(heads)} tokens that the weights answer to most, in every order"
        )
        made = assembled(question.displacement, heads, (self.tokens,), question.level)
        yield from self.from_sequences(question, board, made, pieces)
