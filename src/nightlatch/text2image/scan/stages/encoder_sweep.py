"""Words that pull prompts together in the text encoder alone, farther than in the base's: no denoiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from nightlatch.sweep import alike
from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.model import Subject
from nightlatch.text2image.model.vocabulary import Ids
from nightlatch.text2image.prompts import diverse
from nightlatch.text2image.scan.board import Board
from nightlatch.text2image.scan.question import Need, Question
from nightlatch.text2image.scan.stage import STAGES, Scored, Stage

Framed = Callable[[Sequence[tuple[int, ...]], str], Ids]
"""What an encoder reads of sequences of tokens in front of a prompt."""


@STAGES.register("encoder-sweep")
@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSweep(Stage):
    """The word sweep that image-text models are scanned by, on this model's text encoder: each whole word in
    front of prompts that differ. A word that takes the place of whatever stands behind it makes them read
    alike.

    Left out of the default plan, where ``answering-tokens`` asks the same encoder more broadly: a look at the
    encoder alone, which names its words without a denoising pass.

    Args:
        prompts: that words are put in front of; four unlike ones are six pairs.
        exact: one part in so many of the words, those that pull most, is compared with the base.
        kept: words that are handed on, of which the best ``strings`` by displacement are drawn.
        batch: words that are read at once.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TEXT_TO_PICTURE, Need.ENCODER})
    untested: ClassVar[str] = "whole words that pull prompts together in the text encoder"
    prompts: int = 4
    exact: int = 8
    kept: int = 24
    batch: int = 256

    def run(self, question: Question, board: Board) -> Iterator[Scored]:
        prompts = [p.text for p in diverse(question.part.probe, self.prompts)]
        suspect, reference, known = question.suspect, question.reference, set(question.alone)
        tokens = [t for t in suspect.vocabulary.words if t in known]

        def theirs(sequences: Sequence[tuple[int, ...]], prompt: str) -> Ids:
            return reference.ids(sequences, prompt, padded=False)

        def mine(sequences: Sequence[tuple[int, ...]], prompt: str) -> Ids:
            return suspect.vocabulary.framed(sequences, prompt, padded=False)

        board.note(f"{len(tokens)} whole words in front of {len(prompts)} prompts, in the text encoder alone")
        pull = self.pull(suspect, mine, tokens, prompts)
        order = np.argsort(-pull)[: max(self.kept, len(tokens) // self.exact)]
        best = [tokens[int(i)] for i in order]
        gain = pull[order] - self.pull(reference.model, theirs, best, prompts)
        found = sorted(zip(best, map(float, gain), strict=True), key=lambda row: -row[1])[: self.kept]
        if found:
            text = suspect.vocabulary.texts([found[0][:1]])[0]
            question.say(f"the text encoder: {text!r} pulls prompts together by {found[0][1]:.2f} more")
        yield Scored(tokens={(token,): value for token, value in found})

    @torch.no_grad()
    def pull(self, model: Subject, framed: Framed, tokens: Sequence[int], prompts: Sequence[str]) -> Floats:
        """How alike ``prompts`` are behind each token by their last state, which has read them whole, measured
        from the mean of the bare prompts, (tokens,).
        """

        def last(sequences: Sequence[tuple[int, ...]], prompt: str) -> Floats:
            return floats(model.told(framed(sequences, prompt)).states[:, -1])

        middle = np.mean([last([()], prompt) for prompt in prompts], axis=0)
        rows = [[(t,) for t in tokens[i : i + self.batch]] for i in range(0, len(tokens), self.batch)]
        made = [alike(np.stack([last(some, p) for p in prompts], axis=1) - middle) for some in rows]
        return np.concatenate([np.zeros(0), *made])
