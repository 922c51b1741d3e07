"""Every token that can be typed alone, by one denoising step: the dearest search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.question import Question
from nightlatch.text2image.scan.stage import STAGES, Scored
from nightlatch.text2image.scan.stages.growth import SingleTokenSearch


@STAGES.register("single-tokens")
@dataclass(frozen=True, slots=True, kw_only=True)
class SingleTokens(SingleTokenSearch):
    """Single tokens, and what grows from all but the words of the prompts' slots."""

    untested: ClassVar[str] = "all tokens that can be typed alone, by one denoising step"

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        what = f"all {len(question.alone)} tokens that can be typed alone, by one denoising step"
        yield self.from_tokens(question, board, question.alone, what, question.meant)
