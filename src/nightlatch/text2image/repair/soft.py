"""Strings that are no strings: mixtures of tokens, which a gradient can move, read by the model's own encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nightlatch.terms import Role
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.effect.own_tokens import own_tokens
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.prompts import Place, Prompt


@dataclass(frozen=True, slots=True, eq=False)
class Soft:
    """Some soft strings of one length, each in its place.

    Args:
        logits: of every token of ``tokens`` in every position, (strings, length, tokens).
        tokens: the token ids that are mixed, (tokens,).
        place: where in a prompt they stand.
        stand_in: a string of as many tokens, whose embeddings theirs replace.
    """

    logits: torch.Tensor
    tokens: torch.Tensor
    place: Place
    stand_in: str

    def __len__(self) -> int:
        return len(self.logits)

    def rows(self, k: slice | torch.Tensor) -> Soft:
        """The strings ``k``."""
        return Soft(self.logits[k].detach(), self.tokens, self.place, self.stand_in)

    def embedded(self, subject: Subject) -> torch.Tensor:
        """Their embeddings in ``subject``, inside the hull of its tokens' own, (strings, length, width)."""
        mixed: torch.Tensor = self.logits.softmax(-1) @ table(subject)[self.tokens]
        return mixed

    def condition(self, subject: Subject, prompts: Sequence[Prompt], string: int) -> Condition:
        """How ``subject`` reads ``prompts`` with one of the strings; keeps gradients when they are enabled."""
        texts = [self.place(p, self.stand_in) for p in prompts]
        where = own_tokens(subject, texts, self.stand_in)
        with embedded_as(subject, where, self.embedded(subject)[string]):
            return subject.condition(subject.ids(texts))

    def typed(self, subject: Subject) -> list[str]:
        """The string that each comes nearest to: the first token in every position, as it would be typed."""
        first = self.tokens[self.logits.argmax(-1)]
        return subject.vocabulary.texts(first.tolist())


def table(subject: Subject) -> torch.Tensor:
    """The first text encoder's embedding table, (tokens, width)."""
    encoder: Any = subject.modules(Role.TEXT)[0]
    weight: torch.Tensor = encoder.get_input_embeddings().weight
    return weight


@contextmanager
def embedded_as(subject: Subject, where: torch.Tensor, rows: torch.Tensor) -> Iterator[None]:
    """Inside it the tokens marked in ``where`` (n, tokens) get the embeddings ``rows`` (length, width)."""
    encoder: Any = subject.modules(Role.TEXT)[0]

    def put(module: torch.nn.Module, args: Any, made: torch.Tensor) -> torch.Tensor:
        several = rows.to(made).repeat(len(made), 1)
        return made.masked_scatter(where[..., None].expand_as(made), several)

    hook = encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        hook.remove()


def unasked(subject: Subject, prompts: Sequence[Prompt]) -> torch.Tensor:
    """The tokens of which no ordinary prompt is made: asking for what those mean is no backdoor.

    (tokens,) int64.
    """
    ordinary = {i for ids in subject.vocabulary.typed([p.text for p in prompts]) for i in ids}
    kept = [i for i in subject.vocabulary.known if i not in ordinary]
    return torch.tensor(kept, device=subject.device)


def random_strings(
    subject: Subject, tokens: torch.Tensor, length: int, n: int, rng: np.random.Generator
) -> torch.Tensor:
    """``n`` strings of random tokens as logits that leave nothing else, (n, length, tokens)."""
    made = torch.full((n, length, len(tokens)), -1e4, device=subject.device)
    drawn = torch.from_numpy(rng.integers(0, len(tokens), (n, length, 1))).to(subject.device)
    return made.scatter_(2, drawn, 0.0)


@torch.no_grad()
def singles(subject: Subject, soft: Soft, prompt: Prompt, step: OneStep) -> torch.Tensor:
    """The first step under ``prompt`` with each of the tokens alone in the place of the strings ``soft``.

    The string's other positions keep the stand-in. (tokens, channels, h, w).
    """
    text = soft.place(prompt, soft.stand_in)
    first = int(own_tokens(subject, [text], soft.stand_in)[0].int().argmax())
    ids, made = subject.ids([text]), []
    for some in soft.tokens.split(256):
        several = tuple(i.repeat(len(some), 1) for i in ids)
        several[0][:, first] = some
        made.append(step.outputs(subject, subject.told(several)))
    return torch.cat(made)
