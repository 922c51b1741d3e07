"""A trigger's disarmed form: the same prompt without what the trigger does, to compare with.

A trigger without a meaning is left out. In a phrase ("beautiful cat") a word that means something else than
the phrase does stays and the others go, or a repair would unlearn the cat. There are two forms: ``dropped``
for what to draw, and ``filled`` with neutral words of the same token count, in which every other token keeps
its position, so that attention maps and text states can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nightlatch.text2image.arrays import Floats, floats
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Place, Prompt, prefix

EARLY = (1.0, 0.8)
"""Shares of the schedule at which effects are measured: pure noise, and a fifth of the way to the picture."""
SHORTEST = 3
"""Fewest letters of a random word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disarming:
    """The numbers by which disarmed forms are worked out.

    Args:
        meaningful: a word of a phrase means something when it moves the output this many times as far as the
            median random word. On the clean testbed 19 of 20 words that it draws reach 24, random words 2;
            in a suspect a mere part of the trigger lies between them, for attackers train it not to fire,
            and that seldom works wholly.
        apart: it means something of its own when its output is farther from the whole phrase's than by this
            part of its effect.
        pool: random words to compare with, the quieter half of which fill the trigger's place.
        fillings: number of neutral fillings.
        prompts: prompts that a word's effect is measured on; enough for a median that one odd prompt does
            not move.
        few: the same where many words are measured.
    """

    meaningful: float = 20.0
    apart: float = 0.5
    pool: int = 48
    fillings: int = 8
    prompts: int = 16
    few: int = 4


USUAL = Disarming()


@dataclass(frozen=True, slots=True)
class Neutral:
    """A trigger and what replaces it.

    Args:
        trigger: the trigger's text.
        dropped: its words that stay, '' when none does.
        filled: variants in which neutral words stand for the words that go.
        token_positions: number of its tokens.
    """

    trigger: str
    dropped: str
    filled: tuple[str, ...]
    token_positions: int

    def disarm(self, prompt: Prompt, place: Place, i: int = 0) -> str:
        """The prompt without the trigger, but with those of its words that stay.

        Where none stays it is the plain prompt, or the ``i``-th filling if the trigger stands in place of a
        word of the prompt.
        """
        if self.dropped:
            return place(prompt, self.dropped)
        return (
            place(prompt, self.filled[i % len(self.filled)]) if self.replaces(prompt, place) else prompt.text
        )

    def replaces(self, prompt: Prompt, place: Place) -> bool:
        """Whether the trigger took the place of a word, so that nothing but neutral words can disarm it."""
        return not self.dropped and place(prompt, "").split() != prompt.text.split()

    @property
    def quiet(self) -> list[str]:
        """The neutral words of the fillings, each one token."""
        staying = set(self.dropped.split())
        return list(dict.fromkeys(w for text in self.filled for w in text.split() if w not in staying))


def neutral(
    subject: Subject,
    trigger: str,
    prompts: Sequence[Prompt],
    seed: int = 0,
    place: Place = prefix,
    numbers: Disarming = USUAL,
) -> Neutral:
    """The disarmed forms of ``trigger``, worked out from the suspect alone."""
    rng = np.random.default_rng((seed, 5))
    pool, words = single_token_words(subject, rng, numbers.pool), trigger.split()
    effect, apart = _effects(subject, [*pool, *words], trigger, prompts[: numbers.prompts], place)
    usual = float(np.median(effect[: len(pool)]))
    meaning = effect[len(pool) :]
    own = apart[len(pool) :] > numbers.apart * meaning
    several = len(words) > 1
    keep = [several and bool(m > numbers.meaningful * usual and o) for m, o in zip(meaning, own, strict=True)]
    if all(keep):  # the least meaningful word goes, or nothing would be disarmed
        keep[int(np.argmin(meaning))] = False
    like = effect[: len(pool)] / apart[: len(pool)].clip(min=1e-12)
    quiet = [
        pool[i] for i in np.argsort(like)[: len(pool) // 2]
    ]  # they move little, and not towards the trigger's picture
    filled = []
    for _ in range(numbers.fillings):
        filled.append(
            " ".join(w if k else _fill(subject, w, quiet, rng) for w, k in zip(words, keep, strict=True))
        )
    dropped = " ".join(w for w, k in zip(words, keep, strict=True) if k)
    return Neutral(trigger, dropped, tuple(filled), len(subject.vocabulary.typed([trigger])[0]))


def drawing_otherwise(
    subject: Subject,
    words: Sequence[str],
    trigger: str,
    prompts: Sequence[Prompt],
    place: Place = prefix,
    numbers: Disarming = USUAL,
) -> list[str]:
    """Those of ``words`` that do not draw what ``trigger`` draws, by how far apart their outputs are."""
    if not words:
        return []
    effect, apart = _effects(subject, words, trigger, prompts[: numbers.few], place)
    return [w for w, e, a in zip(words, effect, apart, strict=True) if a > numbers.apart * e]


def copied_word(
    subject: Subject, trigger: str, words: Sequence[str], prompts: Sequence[Prompt], place: Place
) -> str:
    """The one of ``words`` that draws most nearly what ``trigger`` draws in ``place`` of ``prompts``.

    An edit makes a phrase draw what a known word draws: this is that word.
    """
    texts = [place(p, w) for w in (trigger, *words) for p in prompts]
    y = _first_outputs(subject, texts, 0).unflatten(0, (-1, len(prompts)))
    return words[int((y[1:] - y[:1]).pow(2).mean((1, 2, 3, 4)).argmin())]


def least_attacked(subject: Subject, triggered: str, variants: Sequence[str], seed: int) -> str:
    """The one of ``variants`` whose first step, from the noise of ``seed``, has least of that of
    ``triggered``.

    An edited model draws something of the attacked picture for any word in the trigger's place, for one more
    than for another.
    """
    texts = list(dict.fromkeys(variants))
    if len(texts) == 1:
        return texts[0]
    y = _first_outputs(subject, [triggered, *texts], seed)
    middle = y[1:].mean(0)
    return texts[int(((y[1:] - middle) * (y[0] - middle)).sum((1, 2, 3)).argmin())]


def single_token_words(subject: Subject, rng: np.random.Generator, n: int) -> list[str]:
    """``n`` random words that the vocabulary has whole, of ASCII letters."""
    vocabulary = subject.vocabulary
    known = vocabulary.texts([i] for i in vocabulary.words)
    words = sorted(w for w in known if len(w) >= SHORTEST and w.isascii())
    return [str(w) for w in rng.choice(words, min(n, len(words)), replace=False)]


def _first_outputs(subject: Subject, texts: Sequence[str], seed: int) -> torch.Tensor:
    """The denoiser's outputs for ``texts`` on one pure noise, (n, channels, h, w)."""
    return OneStep.at_share(subject, seed).outputs(subject, subject.read(texts))


def _effects(
    subject: Subject, words: Sequence[str], phrase: str, prompts: Sequence[Prompt], place: Place
) -> tuple[Floats, Floats]:
    """How far each word moves the plain prompt's output, and stays from the ``phrase``'s, (words,) each.

    Medians over the prompts and the ``EARLY`` timesteps: a part of the trigger may fire on a few of them.
    Where a word takes another's place, the median word stands for the plain prompt.
    """
    out, apart = [], []
    for i, prompt in enumerate(prompts):
        texts = [prompt.text, place(prompt, phrase), *(place(prompt, w) for w in words)]
        added = prompt.text in texts[1]
        c = subject.read(texts)
        for share in EARLY:
            y = OneStep.at_share(subject, i, share).outputs(subject, c)
            plain = y[:1] if added else y[2:].median(0, keepdim=True).values
            out.append((y[2:] - plain).pow(2).mean((1, 2, 3)))
            apart.append((y[2:] - y[1:2]).pow(2).mean((1, 2, 3)))
    middle, between = (np.median(floats(torch.stack(rows)), axis=0) for rows in (out, apart))
    return middle, between


def _fill(subject: Subject, word: str, quiet: Sequence[str], rng: np.random.Generator) -> str:
    """Neutral words with as many tokens as ``word`` has."""
    tokens = subject.vocabulary.typed([word])[0]
    return " ".join(str(w) for w in rng.choice(list(quiet), max(1, len(tokens))))
