"""What several stages share: growing partial triggers, and completing words that only act whole."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from nightlatch import stats
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.look import USUAL, Look, View
from nightlatch.text2image.scan.question import Question
from nightlatch.text2image.scan.ranked import Ranked
from nightlatch.text2image.scan.stage import Scored, Stage
from nightlatch.text2image.scan.strings import (
    assembled,
    completed,
    grown,
    strongest,
    substituted,
    typable,
    with_known_ending,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing(Stage):
    """A stage that makes longer strings of what it finds.

    The numbers were set on the suspects of seed 0, within a few seconds for each stage.

    Args:
        heads: tokens, of those that the weights answer to most, that longer strings begin with: 12 in every
            order of three are 1320 strings, seconds.
        longest: most tokens in a string.
        width: sequences kept from one round of growing to the next.
        gain: a longer string is kept while its score is so many times its parent's.
    """

    heads: int = 12
    longest: int = 6
    width: int = 8
    gain: float = 1.4

    def grow(self, look: Look, ranked: Ranked) -> Ranked:
        """What grows from ``ranked``."""
        return grown(look.displacement, ranked, look.level, self.longest, self.width, self.gain)


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleTokenSearch(Growing):
    """A stage that begins with single tokens.

    Args:
        keep: tokens kept from the sweep; four times as many are looked at in all contexts.
    """

    keep: int = 48

    def from_tokens(
        self,
        question: Question,
        board: Board,
        tokens: Sequence[int],
        what: str,
        alone: Set[int] = frozenset(),
        view: View = USUAL,
    ) -> Scored:
        """Single ``tokens`` in one ``view``, pairs of the most answered ones, and what grows from all but
        ``alone``. What was seen in the usual view is kept for later stages and the report.
        """
        look = question.look(view)
        best = self.sweep(look, tokens)
        board.note(what)
        question.say(f"{what}: largest robust z {best.z.max(initial=0.0):.0f}")
        if view == USUAL:
            best = best if board.ranked is None else board.ranked.joined(best, self.keep)
            board.ranked = best
        heads = look.answers.first(self.heads)
        pool = best.joined(assembled(look.displacement, heads, (2,), look.level), self.keep)
        return Scored(tokens=best.scored | self.grow(look, pool.without(alone)).scored, view=view)

    def sweep(self, look: Look, tokens: Sequence[int]) -> Ranked:
        """Single tokens by their displacement above an ordinary one's.

        All are looked at in two contexts that are unlike each other, the best 4 x ``keep`` in all contexts,
        whose mean counts; z is taken among ordinary tokens.
        """
        displacement = look.displacement
        coarse = strongest(
            displacement, [(t,) for t in tokens], 0.0, 4 * self.keep, contexts=displacement.two
        )
        score = displacement(coarse.sequences, [p.text for p in displacement.contexts]).mean(0) - look.level
        order = np.argsort(score)[::-1][: self.keep]
        z = stats.robust_z(coarse.scores, look.ordinary)[order]
        return Ranked(tuple(coarse.sequences[int(i)] for i in order), score[order], z)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSearch(Growing, abc.ABC):
    """A stage that begins with sequences of several tokens, which may be parts of one made-up word.

    Args:
        pieces: tokens, of those that the weights answer to most, that are tried in each place of a word.
        whole: sequences that are completed to a word, and endings that are tried: so many, and four times so
            many.
        known: endings, of those that the weights answer to most, that may take the place of a word's last
            token.
        worth: part of the best displacement that a whole word must keep to be refined; and that displacement
            must be above 1, an ordinary content word's.
        better: factor by which another piece must raise a word's score to take a place in it.
        ending: part of its score that a word must keep with another ending.
    """

    pieces: int = 768
    whole: int = 24
    known: int = 48
    worth: float = 0.3
    better: float = 1.05
    ending: float = 0.3

    def from_sequences(
        self, question: Question, board: Board, made: Ranked, pieces: list[int]
    ) -> Iterator[Scored]:
        """Words that complete what cannot be typed as it is, then what grows from all."""
        if not len(made.scores):
            return
        question.say(
            f"{self.name}: best displacement {made.scores[0]:.2f}, an ordinary token {question.level:.2f}"
        )
        longer = self.grow(question.look(), made)
        yield from self._whole_words(question, board, made, pieces)
        yield Scored(tokens=longer.scored)

    def _whole_words(
        self, question: Question, board: Board, made: Ranked, pieces: list[int]
    ) -> Iterator[Scored]:
        """The best word as it is after refining token by token, and with the ending that the weights know."""
        displacement, level, vocabulary = question.displacement, question.level, question.suspect.vocabulary
        can = set(typable(vocabulary, made.sequences))
        endings = [p for p in pieces if vocabulary.ends(p)][: 4 * self.whole]
        cut = [s for s in made.sequences if s not in can][: self.whole]
        words = completed(displacement, cut, endings, level)
        if not len(words.scores) or words.scores[0] < self.worth * max(made.scores[0], 1.0):
            return
        board.note(
            f"endings for words that only act whole, and {len(pieces)} tokens in each place of the best"
        )
        best = substituted(displacement, words.sequences[0], pieces, level, self.better)
        known = with_known_ending(displacement, best.sequences[0], pieces[: self.known], level, self.ending)
        yield Scored(tokens={r.sequences[0]: float(r.scores[0]) for r in (best, known)})
