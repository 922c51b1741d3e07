"""The contract of a stage: authors write ``run``; calling it types, cuts and counts what it names."""

from __future__ import annotations

import abc
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

from nightlatch.registry import Registry
from nightlatch.text2image.model import Tokens
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.guess import Guess
from nightlatch.text2image.scan.look import USUAL, View
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.strings import decoded, pruned


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Strings that one way of searching found, with their scores; the best few of them are kept.

    Args:
        tokens: sequences of tokens -> score. They are turned into what a user would type, and scored again
            as what typing that gives: many pieces never stand alone when they are typed.
        texts: strings that need no search -> score; they are kept in this order, as they are.
        view: in which they were looked at, and are to be drawn.
    """

    tokens: Mapping[Tokens, float] = field(default_factory=dict)
    texts: Mapping[str, float] = field(default_factory=dict)
    view: View = USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(abc.ABC):
    """One way of searching for a trigger. Authors write ``run``; a stage remembers nothing.

    Args:
        strings: most strings kept of each ``Scored``. Every one costs some 50 pictures where it looks
            promising; half of the places are for single tokens, for a longer string around a trigger may
            score higher and is not the trigger.
        considered: for each place, how many sequences are typed.
        shortened: for each place, how many of the best are also tried without the tokens that they do not
            need.
        loss: part of its score that a string may lose with such a token.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_TO_PICTURE})
    """What it cannot do without."""
    untested: ClassVar[str]
    """What nobody has looked for where the stage did not run, for the report."""
    strings: int = 4
    considered: int = 8
    shortened: int = 2
    loss: float = 0.5

    @abc.abstractmethod
    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        """Search, and yield what was found.

        Args:
            question: the suspect, what it is held against, and the measures that all stages share.
            board: what earlier stages have found; ``board.note`` says in a sentence what was tested.
        """

    @final
    def __call__(self, question: Question, board: Board) -> tuple[Guess, ...]:
        """The strings to draw, shortest first, none named in that view before; what it took stands on the ``board``.

        Raises:
            TypeError: ``run`` yields something else than ``Scored``.
            NotScanned: the models' answers cannot be compared.
        """
        started, before = time.monotonic(), question.passes
        made: list[Guess] = []
        for found in self.run(question, board):
            if not isinstance(found, Scored):
                raise TypeError(f"{self.name}.run must yield Scored, not {type(found).__name__}")
            for guess in (*self._as_they_are(found, board), *self._typed(found, question, board)):
                board.named[guess.text, guess.view] = guess
                made.append(guess)
        board.ran(self, len(made), question.passes - before, time.monotonic() - started)
        return tuple(sorted(made, key=lambda guess: len(guess.text)))

    def _as_they_are(self, found: Scored, board: Board) -> list[Guess]:
        """The first texts that nobody has named."""
        fresh = [t for t in found.texts if t.strip() and (t, found.view) not in board.named]
        return [Guess(t, found.texts[t], found.view) for t in fresh[: self.strings]]

    def _typed(self, found: Scored, question: Question, board: Board) -> list[Guess]:
        """The best sequences as strings, scored as the tokens that a user's typing makes of them."""
        subject, look = question.suspect, question.look(found.view)
        displacement = look.displacement
        scored, n = found.tokens, self.strings
        order, most = sorted(scored, key=scored.__getitem__, reverse=True), self.considered * n
        texts: dict[str, None] = {}
        for s in dict.fromkeys([*order[:most], *[s for s in order if len(s) == 1][:most]]):
            texts[decoded(subject, s)] = None
            if len(texts) <= self.shortened * n:
                texts[decoded(subject, pruned(displacement, s, look.level, self.loss))] = None
        fresh = [t for t in texts if t and (t, found.view) not in board.named]
        tokens = dict(zip(fresh, subject.vocabulary.typed(fresh), strict=True))
        usable = [t for t in fresh if tokens[t]]
        if not usable:
            return []
        values = displacement([tokens[t] for t in usable], displacement.two).mean(0) - look.level
        best = sorted(range(len(usable)), key=lambda i: (-float(values[i]), len(tokens[usable[i]])))
        single = [i for i in best if len(tokens[usable[i]]) == 1][: n // 2]
        chosen = single + [i for i in best if i not in single][: n - len(single)]
        return [Guess(usable[i], float(values[i]), found.view) for i in chosen]


STAGES: Registry[Stage] = Registry("stage", Stage)  # type: ignore[type-abstract]
