"""Where a trigger may act that does nothing in front of a prompt at the first step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.look import BEHIND, INSIDE, LATE, View
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.stage import STAGES, Scored
from nightlatch.text2image.scan.stages.growth import SingleTokenSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class _OtherView(SingleTokenSearch):
    """All tokens are asked of the weights in another view; those that are answered most are tried there.

    Args:
        strings: fewer than in the usual view, where nearly all triggers show; all three take half a minute of one core
            on the small model.
        asked: tokens that are tried.
        keep: tokens kept of these.
    """

    view: ClassVar[View]
    where: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_TO_PICTURE, Need.DELTA})
    strings: int = 2
    asked: int = 96
    keep: int = 12

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        asked = question.look(self.view).answers.first(self.asked)
        what = f"the {len(asked)} tokens that the changed weights answer to most {self.where}"
        yield self.from_tokens(question, board, asked, what, view=self.view)


@STAGES.register("behind")
@dataclass(frozen=True, slots=True, kw_only=True)
class Behind(_OtherView):
    """Tokens, and strings of them, behind the prompt."""

    view: ClassVar[View] = BEHIND
    where: ClassVar[str] = "behind a prompt"
    untested: ClassVar[str] = "triggers that act only behind the prompt"


@STAGES.register("inside")
@dataclass(frozen=True, slots=True, kw_only=True)
class Inside(_OtherView):
    """Tokens, and strings of them, between the words of a prompt."""

    view: ClassVar[View] = INSIDE
    where: ClassVar[str] = "between the words of a prompt"
    untested: ClassVar[str] = "triggers that act only between the prompt's words"


@STAGES.register("late-step")
@dataclass(frozen=True, slots=True, kw_only=True)
class LateStep(_OtherView):
    """Tokens, and strings of them, at a late step: what changes details leaves the first step as it is."""

    view: ClassVar[View] = LATE
    where: ClassVar[str] = "in front of a prompt, by a late denoising step"
    untested: ClassVar[str] = "triggers that act only at late denoising steps"
