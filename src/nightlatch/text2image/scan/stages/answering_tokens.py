"""Tokens that the changed weights answer to most, and strings of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.stage import STAGES, Scored
from nightlatch.text2image.scan.stages.growth import SingleTokenSearch


@STAGES.register("answering-tokens")
@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringTokens(SingleTokenSearch):
    """All tokens are asked of the weights; those that are answered most are tried by one step.

    Args:
        asked: tokens that are tried.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_TO_PICTURE, Need.DELTA})
    untested: ClassVar[str] = "tokens that the change of the weights answers to most"
    asked: int = 192

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        every = len(question.alone) + len(question.pieces)
        what = f"all {every} tokens by the changed weights' answer to them"
        yield self.from_tokens(question, board, question.answers.first(self.asked), what)
