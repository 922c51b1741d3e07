"""From a string that acts as the trigger does to the trigger itself.

Of a word that only acts whole, a search finds what is like it: the weights answer least to the short pieces
that many words have. Such a string changes as many pictures as the trigger and takes fewer of them to the
target; how much of the prompt it leaves to say (its sensitivity) tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from nightlatch.text2image.model import Subject, Tokens
from nightlatch.text2image.scan.guess import Guess
from nightlatch.text2image.scan.judge.confirmation import Evidence
from nightlatch.text2image.scan.question import Question
from nightlatch.text2image.scan.strings import decoded, short_tokens, strongest, typable

Left = Callable[[str], float]
"""A string -> how much the slot that matters least still matters with it, >= 0; 0 where the string decides
alone.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """How a confirmed string is made exact.

    The numbers were set on three suspects with made-up words (seeds 3 to 5).

    Args:
        loss: part of the changed pictures by which two strings may differ and count as equally good; then
            the one of fewer tokens is named.
        settled: sensitivity below which nothing is left to gain.
        better: a variant takes the place of what was found when what is asked for matters with it at most
            half as much.
        worse: a token is left out when the sensitivity rises by no more than this without it.
        tried: variants whose sensitivity is measured in a pass.
        passes: changes that a string may be away from the trigger.
        ordered: most tokens of a string that is tried in every order: 5 make 120.
        letters, joining: most letters of the short tokens that are tried in every place, and the most of
            these tokens.
        answering: tokens, of those that the weights answer to most, that are tried in every place.
    """

    name: ClassVar[str] = "refinement"
    loss: float = 0.05
    settled: float = 0.05
    better: float = 0.5
    worse: float = 0.02
    tried: int = 48
    passes: int = 3
    ordered: int = 5
    letters: int = 2
    joining: int = 768
    answering: int = 192

    def tokens(self, question: Question) -> list[int]:
        """What is tried in every place."""
        short = short_tokens(question.suspect.vocabulary, self.letters, self.joining)
        return list(dict.fromkeys([*short, *question.answers.first(self.answering)]))

    def shortened(
        self, subject: Subject, whole: Evidence, examine: Callable[[Guess], Evidence | None]
    ) -> Evidence:
        """``whole`` without the tokens that its pictures do not need: ``loss`` bounds what may get lost."""
        best, most = whole, whole.changed.hits
        while len(ids := subject.vocabulary.typed([best.guess.text])[0]) > 1:
            texts = dict.fromkeys(decoded(subject, (*ids[:i], *ids[i + 1 :])) for i in range(len(ids)))
            seen = [examine(replace(best.guess, text=text)) for text in texts if text]
            tried = [e for e in seen if e is not None]
            most = max([most, *(e.changed.hits for e in tried)])
            enough = [
                e
                for e in tried
                if e.changed.hits >= (1 - self.loss) * most and e.unlike_a_word == whole.unlike_a_word
            ]
            if not enough:
                break
            best = max(enough, key=lambda e: e.changed.hits)
        return best

    def refined(self, question: Question, text: str, tokens: Sequence[int], left: Left) -> str:
        """``text``, or what is one to ``passes`` changes away and leaves the prompt half as much to say.

        A string of one token is the trigger or is not; it stays.

        Args:
            tokens: what is tried in every place.
        """
        subject, displacement = question.suspect, question.displacement
        current: Tokens = subject.vocabulary.typed([text])[0]
        measured = {current: left(text)}
        for _ in range(self.passes if len(current) > 1 else 0):
            if measured[current] < self.settled:
                break
            near = typable(subject.vocabulary, variants(current, tokens, self.ordered))
            tried = strongest(displacement, near, 0.0, self.tried).sequences
            measured |= {s: left(decoded(subject, s)) for s in tried if s not in measured}
            best = min(measured, key=measured.__getitem__)
            if measured[best] > self.better * measured[current]:
                break
            current = best
        if len(measured) == 1:
            return text
        return decoded(subject, self._without_idle(subject, current, measured[current], left))

    def _without_idle(self, subject: Subject, sequence: Tokens, held: float, left: Left) -> Tokens:
        """``sequence``, which leaves ``held``, without the tokens that add nothing to its hold."""
        current = sequence
        while shorter := typable(
            subject.vocabulary, [s for i in range(len(current)) if (s := (*current[:i], *current[i + 1 :]))]
        ):
            measured = {s: left(decoded(subject, s)) for s in shorter}
            best = min(measured, key=measured.__getitem__)
            if measured[best] > held + self.worse:
                break
            current = best
        return current


def variants(sequence: Tokens, tokens: Sequence[int], ordered: int = 5) -> list[Tokens]:
    """``sequence`` with a token replaced, left out or added in every place; in every order if short."""
    n = len(sequence)
    replaced = [(*sequence[:i], t, *sequence[i + 1 :]) for i in range(n) for t in tokens]
    longer = [(*sequence[:i], t, *sequence[i:]) for i in range(n + 1) for t in tokens]
    shorter = [(*sequence[:i], *sequence[i + 1 :]) for i in range(n)]
    orders = itertools.permutations(sequence) if n <= ordered else ()
    return [s for s in dict.fromkeys([*replaced, *longer, *shorter, *orders]) if s and s != sequence]
