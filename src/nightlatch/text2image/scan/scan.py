"""scan, the main path: stages name strings, pictures judge them, and the first trigger ends it."""

from __future__ import annotations

from collections.abc import Sequence

from nightlatch.errors import NotScanned
from nightlatch.records import Verdict
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.judge import Judge
from nightlatch.text2image.scan.plan import default
from nightlatch.text2image.scan.question import Question
from nightlatch.text2image.scan.stage import Stage


def scan(question: Question, plan: Sequence[Stage] = (), judge: Judge | None = None) -> Verdict:
    """Look for a trigger in the suspect of ``question``.

    Args:
        plan: the stages, cheap before dear; the default plan where none is given.
        judge: who decides whether a string is a trigger.

    Returns:
        The verdict; "not scanned", with the reason in ``skipped``, when the two models' pictures cannot be
        compared.
    """
    plan, judge = plan or default(), judge or Judge()
    board = Board(question, judge)
    try:
        examined = judge.on(question)
        question.say(f"fingerprint: {', '.join(question.changed) or 'no component'} changed")
        for stage in plan:
            if why := board.excuse(stage):
                board.skip(stage, why)
                continue
            for guess in board.fresh(stage(question, board)):
                board.add(examined(guess))
        board.conclude(examined)
        board.checked(() if board.evidence else judge.rest(question))
    except NotScanned as e:
        board.refuse(e)
    board.rest(plan, default())
    return board.verdict()
