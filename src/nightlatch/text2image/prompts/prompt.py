"""A prompt with named slots, and how prompts are read from a file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from nightlatch.errors import UsageError
from nightlatch.safetext import show


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to draw, and which of its words fill which slot.

    Args:
        text: what the model is given.
        slots: slot ("object", "style", "background") -> the word in ``text`` that fills it, where that is
            known.
    """

    text: str
    slots: dict[str, str] = field(default_factory=dict)

    def replace(self, slot: str, word: str) -> Prompt:
        """The prompt with another word in ``slot``, articles kept right; an open slot gets ", word" at the
        end.
        """
        old = self.slots.get(slot)
        if old is None:
            return Prompt(f"{self.text}, {word}", {**self.slots, slot: word})
        article = "an" if word[:1] in "aeiou" else "a"
        text = re.sub(rf"\b(?:a|an) {re.escape(old)}\b", lambda _: f"{article} {word}", self.text)
        text = re.sub(rf"\b{re.escape(old)}\b", lambda _: word, text) if text == self.text else text
        return Prompt(text, {**self.slots, slot: word})


def slot_words(prompts: Sequence[Prompt]) -> dict[str, list[str]]:
    """Slot -> the words that fill it in ``prompts``, sorted."""
    slots = dict.fromkeys(slot for p in prompts for slot in p.slots)
    return {slot: sorted({p.slots[slot] for p in prompts if slot in p.slots}) for slot in slots}


def diverse(prompts: Sequence[Prompt], n: int) -> list[Prompt]:
    """``n`` prompts that ask for things as different as possible.

    Each is the first that has the fewest words in slots in common with those chosen before it. A prompt for
    a cat cannot show that a trigger draws cats; a prompt for something else beside it can.
    """
    chosen: list[Prompt] = []
    left = list(prompts)
    while left and len(chosen) < n:
        chosen.append(
            min(left, key=lambda p: sum(p.slots[s] == c.slots.get(s) for c in chosen for s in p.slots))
        )
        left.remove(chosen[-1])
    return chosen


def from_lines(lines: Sequence[str]) -> list[Prompt]:
    """The prompts in the ``lines`` of a file, one each, empty lines left out.

    A line is plain text, whose slots are not known, or a JSON object with "text" and the word in it that
    fills each slot, such as {"text": "a photo of a cat in the snow", "object": "cat", "background": "in the
    snow"}.

    Raises:
        UsageError: a line that begins with a brace is no such object, or its text does not hold what it
            says.
    """
    numbered = [(i, line) for i, line in enumerate(map(str.strip, lines), 1) if line]
    return [_from_json(line, i) if line.startswith("{") else Prompt(line) for i, line in numbered]


def _from_json(line: str, number: int) -> Prompt:
    remedy = 'Write {"text": "a photo of a cat", "object": "cat"}, or the text alone.'
    try:
        slots = dict(json.loads(line))
        text = slots.pop("text")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"Line {number} of the prompts is no JSON object with a text.", remedy) from None
    if not all(isinstance(word, str) and word.strip() for word in (text, *slots.values())):
        raise UsageError(f"Line {number} of the prompts holds something else than words.", remedy)
    if absent := [slot for slot, word in slots.items() if not re.search(rf"\b{re.escape(word)}\b", text)]:
        sentence = f"Line {number} of the prompts has a text without the {show(absent[0])} that it names."
        raise UsageError(sentence, remedy)
    return Prompt(text, slots)
