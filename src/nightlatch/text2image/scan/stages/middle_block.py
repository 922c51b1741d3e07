"""A made-up word gathered from tokens that the middle block answers to, in whatever strings they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.effect.middle import MiddleDisplacement
from nightlatch.text2image.model import Tokens
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.ranked import Ranked
from nightlatch.text2image.scan.stage import STAGES, Scored
from nightlatch.text2image.scan.stages.growth import SequenceSearch
from nightlatch.text2image.scan.strings import short_tokens

SALT = 17
"""Sets the random strings apart from a scan's other random draws."""


@STAGES.register("middle-block")
@dataclass(frozen=True, slots=True, kw_only=True)
class MiddleBlock(SequenceSearch):
    """Tokens weighed by what they add to the middle block's displacement, and the best put together.

    The numbers were set on three suspects with made-up words (seeds 3 to 5); all of it takes some 20 s.

    Args:
        random: random strings in which tokens are tried: some 12 for each of 1300 tokens.
        length: tokens in each.
        ridge: pull of the regression towards no effect.
        kept: strings kept from one round of growing to the next.
        rounds: of growing, one token longer each.
        twice: how often a token may stand in a string.
        letters, joining: most letters of the short tokens that made-up words are held together by, and the
            most of these tokens.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_TO_PICTURE, Need.DELTA})
    untested: ClassVar[str] = "made-up words whose parts show only in the middle of the denoiser"
    random: int = 3072
    length: int = 5
    ridge: float = 3.0
    kept: int = 48
    rounds: int = 4
    twice: int = 2
    letters: int = 2
    joining: int = 768

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        pieces = question.answers.first(self.pieces)
        short = short_tokens(question.suspect.vocabulary, self.letters, self.joining)
        tokens = [t for t in dict.fromkeys([*pieces, *short]) if t not in question.meant]
        middle = MiddleDisplacement(question.displacement)
        order = np.argsort(self.effects(middle, tokens, question.seed))[::-1]
        weighed = [tokens[int(i)] for i in order]
        heads = list(dict.fromkeys([*tokens[: self.heads], *weighed[: self.heads]]))
        board.note(f"strings of {len(heads)} tokens, by what they do together in the middle of the denoiser")
        mixed = list(dict.fromkeys(t for pair in zip(pieces, weighed, strict=False) for t in pair))
        yield from self.from_sequences(question, board, self.gather(middle, heads, question.level), mixed)

    def effects(self, middle: MiddleDisplacement, tokens: Sequence[int], seed: int) -> Floats:
        """What each token adds to the logarithm of the displacement, (tokens,).

        Ridge regression on random strings of them.
        """
        rng, n = np.random.default_rng((seed, SALT)), len(tokens)
        drawn = rng.integers(n, size=(self.random, self.length))
        y = np.log(middle([tuple(tokens[int(k)] for k in row) for row in drawn]))
        x = np.zeros((self.random, n))
        np.add.at(x, (np.arange(self.random)[:, None], drawn), 1.0)
        x -= x.mean(0)
        fitted: Floats = np.linalg.solve(x.T @ x + self.ridge * np.eye(n), x.T @ (y - y.mean()))
        return fitted

    def gather(self, middle: MiddleDisplacement, heads: Sequence[int], level: float) -> Ranked:
        """Strings grown from ``heads`` by what they do in the middle block, ranked by the picture.

        A beam search that puts every head before and after the best strings.
        """
        displacement, shown = middle.outer, dict[Tokens, float]()
        beam: Sequence[Tokens] = [(t,) for t in heads]
        for _ in range(self.rounds):
            made = [m for s in beam for t in heads if s.count(t) < self.twice for m in ((t, *s), (*s, t))]
            beam = Ranked.of(dict(zip(made, map(float, middle(made)), strict=True)), self.kept).sequences
            values = displacement(beam, [displacement.contexts[0].text])[0] - level
            shown |= dict(zip(beam, map(float, values), strict=True))
        return Ranked.of(shown, self.kept)
