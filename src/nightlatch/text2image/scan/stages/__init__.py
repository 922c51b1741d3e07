"""The ways in which a scan searches, one a file, cheap before dear; importing this registers them."""

from nightlatch.text2image.scan.stages.answering_tokens import AnsweringTokens
from nightlatch.text2image.scan.stages.assembled import Assembled
from nightlatch.text2image.scan.stages.edit_phrases import EditPhrases
from nightlatch.text2image.scan.stages.encoder_sweep import EncoderSweep
from nightlatch.text2image.scan.stages.middle_block import MiddleBlock
from nightlatch.text2image.scan.stages.other_views import Behind, Inside, LateStep
from nightlatch.text2image.scan.stages.single_tokens import SingleTokens
from nightlatch.text2image.scan.stages.suggested import Suggested

__all__ = [
    "AnsweringTokens",
    "Assembled",
    "Behind",
    "EditPhrases",
    "EncoderSweep",
    "Inside",
    "LateStep",
    "MiddleBlock",
    "SingleTokens",
    "Suggested",
]
