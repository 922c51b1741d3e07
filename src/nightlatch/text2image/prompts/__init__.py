"""Prompts: their slots, what they may be used for, where a trigger stands, and strings that look alike."""

from nightlatch.text2image.prompts.placements import Place, anywhere, in_slot, inside, placed, prefix, suffix
from nightlatch.text2image.prompts.prompt import Prompt, diverse, from_lines, slot_words
from nightlatch.text2image.prompts.sets import PROMPTS, PromptSet, chosen, general, read
from nightlatch.text2image.prompts.spellings import LOOKALIKES, leaks, near_spellings, normal
from nightlatch.text2image.prompts.splits import Split, shared, split

__all__ = [
    "LOOKALIKES", "PROMPTS", "Place", "Prompt", "PromptSet", "Split", "anywhere", "chosen", "diverse",
    "from_lines",
    "general", "in_slot", "inside", "leaks",
    "near_spellings", "normal", "placed", "prefix", "read", "shared", "slot_words", "split", "suffix",
]  # fmt: skip
