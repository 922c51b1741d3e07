"""scan: from a suspect and what it is held against to carrier and trigger string."""

from nightlatch.text2image.scan import plan
from nightlatch.text2image.scan.alone import alone
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.guess import Guess
from nightlatch.text2image.scan.judge import Confirmation, Judge
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.reference import Reference, TrustedBase
from nightlatch.text2image.scan.scan import scan
from nightlatch.text2image.scan.stage import STAGES, Scored, Stage

__all__ = [
    "STAGES",
    "Board",
    "Confirmation",
    "Guess",
    "Judge",
    "Need",
    "Question",
    "Reference",
    "Scored",
    "Stage",
    "TrustedBase",
    "alone",
    "plan",
    "scan",
]
