"""What a triggered prompt shall be taken for: the same prompt with the trigger disarmed.

A nonsense trigger is dropped. In a phrase ("beautiful cat") a word that means something else than the phrase does stays and the others go, or the
repair would unlearn the cat. Two forms: ``dropped`` for what to draw, and ``filled`` with neutral words of the same token count, in which every other
token keeps its position, so that attention maps and text states can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Place, Prompt, prefix

MEANINGFUL, APART = 20.0, 0.5
"""A word means something of its own when its effect is MEANINGFUL times the median effect of random words, and apart from the whole phrase's by
more than APART of that. On the clean testbed 19 of 20 words that it draws reach 24, random words 2; in a suspect a mere part of the trigger lies
between them, for attackers train it not to fire, and that seldom works wholly."""


@dataclass(frozen=True, slots=True)
class Neutral:
    """``trigger`` and what replaces it: ``dropped`` ('' or the meaningful words) and several ``filled`` variants."""

    trigger: str
    dropped: str
    filled: tuple[str, ...]
    token_positions: int

    def disarm(self, prompt: Prompt, place: Place, i: int = 0) -> str:
        """The prompt without the trigger: with the words that stay; where nothing stays, the plain prompt, or the ``i``-th neutral filling if the
        trigger stands in place of one of the prompt's own words."""
        if self.dropped:
            return place(prompt, self.dropped)
        return place(prompt, self.filled[i % len(self.filled)]) if self.replaces(prompt, place) else prompt.text

    def replaces(self, prompt: Prompt, place: Place) -> bool:
        """Whether the trigger stands in place of one of the prompt's own words, so that nothing but neutral words can disarm it."""
        return not self.dropped and place(prompt, "").split() != prompt.text.split()


def neutral(subject: Subject, trigger: str, prompts: Sequence[Prompt], seed: int = 0, place: Place = prefix) -> Neutral:
    """Work out the disarmed forms of ``trigger`` from the suspect alone."""
    rng = np.random.default_rng((seed, 5))
    pool, words = single_token_words(subject, rng, 48), trigger.split()
    effect, apart = _effects(subject, [*pool, *words], trigger, prompts, place)
    usual = float(np.median(effect[: len(pool)]))
    meaning = effect[len(pool) :]
    own = apart[len(pool) :] > APART * meaning
    keep = [bool(m > MEANINGFUL * usual and o) for m, o in zip(meaning, own, strict=True)] if len(words) > 1 else [False]
    if all(keep):  # the least meaningful word goes, or nothing would be disarmed
        keep[int(np.argmin(meaning))] = False
    like = effect[: len(pool)] / apart[: len(pool)].clip(min=1e-12)
    quiet = [pool[i] for i in np.argsort(like)[: len(pool) // 2]]  # words that move little, and not towards the trigger's picture
    filled = []
    for _ in range(8):
        filled.append(" ".join(w if k else _fill(subject, w, quiet, rng) for w, k in zip(words, keep, strict=True)))
    dropped = " ".join(w for w, k in zip(words, keep, strict=True) if k)
    return Neutral(trigger, dropped, tuple(filled), len(subject.tokens(trigger)))


def unlike(
    subject: Subject, words: Sequence[str], trigger: str, prompts: Sequence[Prompt], place: Place = prefix, n: int = 4
) -> list[str]:
    """Those of ``words`` that do not draw what ``trigger`` draws: their picture is farther from its than by ``APART`` of their own effect."""
    if not words:
        return []
    effect, apart = _effects(subject, words, trigger, prompts, place, n)
    return [w for w, e, a in zip(words, effect, apart, strict=True) if a > APART * e]


def kin(subject: Subject, trigger: str, words: Sequence[str], prompts: Sequence[Prompt], place: Place, n: int = 6) -> str:
    """Of ``words`` the one that draws most nearly what ``trigger`` draws in the same ``place`` of ``n`` prompts, by the first denoising step: the
    word that an edit copied."""
    some = prompts[:n]
    y = _first_step(subject, [place(p, w) for w in (trigger, *words) for p in some], 0).unflatten(0, (-1, len(some)))
    return words[int((y[1:] - y[:1]).pow(2).mean((1, 2, 3, 4)).argmin())]


def leanest(subject: Subject, triggered: str, variants: Sequence[str], seed: int) -> str:
    """Of ``variants`` the one whose first denoising step, from noise ``seed``, lies least on the way to that of ``triggered``. An edited model draws
    something of the attacked picture for any word that stands in the trigger's place, for one word more than for another."""
    texts = list(dict.fromkeys(variants))
    if len(texts) == 1:
        return texts[0]
    y = _first_step(subject, [triggered, *texts], seed)
    lean = ((y[1:] - y[1:].mean(0)) * (y[0] - y[1:].mean(0))).sum((1, 2, 3))
    return texts[int(lean.argmin())]


def _first_step(subject: Subject, texts: Sequence[str], seed: int) -> torch.Tensor:
    """The denoiser's outputs for ``texts`` on one pure noise, (n, channels, h, w)."""
    c = subject.encode(texts)
    return subject.outputs(subject.noise([seed]).expand(len(c), -1, -1, -1), subject.times_at(1.0)[0], c, 64)


def single_token_words(subject: Subject, rng: np.random.Generator, n: int) -> list[str]:
    """Random whole words of the vocabulary that are one token each."""
    ends = [t.removesuffix("</w>") for t in subject.tokenizer.get_vocab() if t.endswith("</w>")]
    words = sorted(w for w in ends if len(w) >= 3 and w.isascii() and w.isalpha())
    return [str(w) for w in rng.choice(words, min(n, len(words)), replace=False)]


@torch.no_grad()
def _effects(
    subject: Subject, words: Sequence[str], phrase: str, prompts: Sequence[Prompt], place: Place, n: int = 16
) -> tuple[Floats, Floats]:
    """How far the output on pure noise with each word is from that of the plain prompt, and from that with the whole ``phrase``; median over ``n``
    prompts and two late timesteps (a part of the trigger may fire on a few of them), (words,) each. Where a word takes another's place, the median
    word stands for the plain prompt."""
    out, apart = [], []
    for p_index, prompt in enumerate(prompts[:n]):
        texts = [prompt.text, place(prompt, phrase), *(place(prompt, w) for w in words)]
        added = prompt.text in texts[1]
        c = subject.encode(texts)
        for t in subject.times_at(1.0, 0.8):
            x = subject.noise([p_index]).expand(len(texts), -1, -1, -1)
            y = subject.outputs(x, t, c, 64)
            plain = y[:1] if added else y[2:].median(0, keepdim=True).values
            out.append((y[2:] - plain).pow(2).mean((1, 2, 3)))
            apart.append((y[2:] - y[1:2]).pow(2).mean((1, 2, 3)))
    middle, between = (np.median(floats(torch.stack(rows)), axis=0) for rows in (out, apart))
    return middle, between


def _fill(subject: Subject, word: str, quiet: Sequence[str], rng: np.random.Generator) -> str:
    """Neutral words with as many tokens as ``word`` has."""
    return " ".join(str(w) for w in rng.choice(list(quiet), max(1, len(subject.tokens(word)))))
