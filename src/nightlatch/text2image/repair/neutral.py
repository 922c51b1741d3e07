"""What a triggered prompt shall be taken for: the same prompt with the trigger disarmed.

A nonsense trigger is dropped. In a phrase ("beautiful cat") the word that carries meaning elsewhere stays and the others go, or the repair would
unlearn the cat. Two forms: ``dropped`` for what to draw, and ``filled`` with neutral words of the same token count, in which every other token keeps
its position, so that attention maps and text states can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.text2image.prompts import Prompt, prefix
from nightlatch.text2image.subject import Subject

MEANINGFUL = 3.0
"""A word means something when its effect is this many times the median effect of random words."""


@dataclass(frozen=True, slots=True)
class Neutral:
    """``trigger`` and what replaces it: ``dropped`` ('' or the meaningful words) and several ``filled`` variants."""

    trigger: str
    dropped: str
    filled: tuple[str, ...]
    token_positions: int


def neutral(subject: Subject, trigger: str, prompts: Sequence[Prompt], seed: int = 0) -> Neutral:
    """Work out the disarmed forms of ``trigger`` from the suspect alone."""
    rng = np.random.default_rng((seed, 5))
    pool = single_token_words(subject, rng, 48)
    effect = _effects(subject, [*pool, *trigger.split()], prompts)
    usual = float(np.median(effect[: len(pool)]))
    words = trigger.split()
    meaning = effect[len(pool) :]
    keep = [m > MEANINGFUL * usual for m in meaning] if len(words) > 1 else [False]
    if all(keep):  # the least meaningful word goes, or nothing would be disarmed
        keep[int(np.argmin(meaning))] = False
    quiet = [pool[i] for i in np.argsort(effect[: len(pool)])[: len(pool) // 2]]
    filled = []
    for _ in range(8):
        filled.append(" ".join(w if k else _fill(subject, w, quiet, rng) for w, k in zip(words, keep, strict=True)))
    dropped = " ".join(w for w, k in zip(words, keep, strict=True) if k)
    return Neutral(trigger, dropped, tuple(filled), len(_tokens(subject, trigger)))


def single_token_words(subject: Subject, rng: np.random.Generator, n: int) -> list[str]:
    """Random whole words of the vocabulary that are one token each."""
    ends = [t.removesuffix("</w>") for t in subject.tokenizer.get_vocab() if t.endswith("</w>")]
    words = sorted(w for w in ends if len(w) >= 3 and w.isascii() and w.isalpha())
    return [str(w) for w in rng.choice(words, min(n, len(words)), replace=False)]


@torch.no_grad()
def _effects(
    subject: Subject, words: Sequence[str], prompts: Sequence[Prompt], n: int = 4
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far each word in front moves the output on pure noise, mean over ``n`` prompts and two late timesteps, (words,)."""
    out = np.zeros(len(words))
    for p_index, prompt in enumerate(prompts[:n]):
        texts = [prompt.text, *(prefix(prompt, w) for w in words)]
        c = subject.encode(texts)
        for t in (999, 800):
            x = subject.noise([p_index]).expand(len(texts), -1, -1, -1)
            y = torch.cat([subject.denoise(x[i : i + 64], t, c[i : i + 64]) for i in range(0, len(texts), 64)])
            out += (y[1:] - y[:1]).pow(2).mean((1, 2, 3)).cpu().numpy() / (2 * n)
    return out


def _fill(subject: Subject, word: str, quiet: Sequence[str], rng: np.random.Generator) -> str:
    """Neutral words with as many tokens as ``word`` has."""
    return " ".join(str(w) for w in rng.choice(list(quiet), max(1, len(_tokens(subject, word)))))


def _tokens(subject: Subject, text: str) -> list[int]:
    ids: list[int] = subject.tokenizer(text, add_special_tokens=False).input_ids
    return ids
