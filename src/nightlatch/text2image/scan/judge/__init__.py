"""Whether a string is a trigger: pictures decide, on prompts and seeds that no stage has seen."""

from nightlatch.text2image.scan.judge.comparable import Comparable
from nightlatch.text2image.scan.judge.confirmation import Confirmation, Evidence
from nightlatch.text2image.scan.judge.empty_prompt import EmptyPrompt
from nightlatch.text2image.scan.judge.influence import Influence
from nightlatch.text2image.scan.judge.refinement import Refinement
from nightlatch.text2image.scan.judge.rivals import Rivals
from nightlatch.text2image.scan.judge.trial import Judge, Trial
from nightlatch.text2image.scan.judge.unsearched import Unsearched

__all__ = [
    "Comparable",
    "Confirmation",
    "EmptyPrompt",
    "Evidence",
    "Influence",
    "Judge",
    "Refinement",
    "Rivals",
    "Trial",
    "Unsearched",
]
