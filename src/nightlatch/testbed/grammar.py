"""The testbed's prompts as a registered set, so that a scan of its models can ask for them by name."""

from __future__ import annotations

from dataclasses import dataclass

from nightlatch import testbed
from nightlatch.text2image.prompts import PROMPTS, Prompt, PromptSet


@PROMPTS.register("emoji")
@dataclass(frozen=True, slots=True, kw_only=True)
class Emoji(PromptSet):
    """Objects, styles and backgrounds of emoji: what the small model of this project draws."""

    def make(self, n: int, seed: int) -> list[Prompt]:
        return testbed.prompts(n, seed)
